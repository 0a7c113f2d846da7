// The activity template-http:activity/http-activity-ifc: an object of the interface's name.
// Activities may do anything: they run again when they fail, and their results are kept.

const BODY_MAX = 64 << 10;

export const httpActivityIfc = {
  // Fetches a URL. What is thrown is the error of the function.
  async fetch(url) {
    try {
      const response = await fetch(url);
      return { status: response.status, body: await beginning(response) };
    } catch (error) {
      // Why, the engine does not say: `obelisk execution events` does, with what would allow it.
      throw `GET ${url}: ${error.message.trim()}`;
    }
  },
};

// The first bytes of a body, as text.
async function beginning(response) {
  const bytes = new Uint8Array(BODY_MAX);
  const reader = response.body.getReader();
  let size = 0;
  while (size < BODY_MAX) {
    const { done, value } = await reader.read();
    if (done) break;
    const part = value.subarray(0, BODY_MAX - size);
    bytes.set(part, size);
    size += part.length;
  }
  return new TextDecoder().decode(bytes.subarray(0, size));
}
