// The activity template-fibo:activity/fibo-activity-ifc: an object of the interface's name.
// Activities may do anything: they run again when they fail, and their results are kept.

export const fiboActivityIfc = {
  // The n-th Fibonacci number. A u64 is a Number here, exact up to 2^53: that is fibo(78).
  fibo(n) {
    if (n > 78) throw undefined;
    let [last, following] = [0, 1];
    for (let i = 0; i < n; i++) [last, following] = [following, last + following];
    return last;
  },
};
