//! The workflow template-fibo:workflow/fibo-workflow-ifc: an implementation of the trait `Guest`, which is generated, as all
//! bindings are, out of `wit/`.

use exports::template_fibo::workflow::fibo_workflow_ifc::Guest;
use obelisk::workflow::workflow_support::join_set_create;
use template_fibo::activity::fibo_activity_ifc::fibo;
use template_fibo::activity_obelisk_ext::fibo_activity_ifc::{fibo_await_next, fibo_submit};

wit_bindgen::generate!({ world: "workflow", generate_all });

struct Component;
export!(Component);

/// Workflows are deterministic: everything that may come out differently is a call of something imported.
impl Guest for Component {
    /// Calls, one after another. One that returns an error ends this with it.
    fn fiboa(n: u8, iterations: u32) -> Result<u64, ()> {
        let mut last = 0;
        for _ in 0..iterations {
            last = fibo(n)?;
        }
        Ok(last)
    }

    /// The same calls at once, awaited in the order in which they finish.
    fn fiboa_concurrent(n: u8, iterations: u32) -> Result<u64, ()> {
        let join_set = join_set_create();
        for _ in 0..iterations {
            fibo_submit(&join_set, n);
        }
        let mut last = 0;
        for _ in 0..iterations {
            let (_execution_id, result) = fibo_await_next(&join_set).expect("as many as were submitted");
            last = result?;
        }
        Ok(last)
    }
}
