//! The activity template-fibo:activity/fibo-activity-ifc: an implementation of the trait `Guest`, which is generated, as all
//! bindings are, out of `wit/`.

use exports::template_fibo::activity::fibo_activity_ifc::Guest;

wit_bindgen::generate!({ world: "activity", generate_all });

struct Component;
export!(Component);

/// Activities may do anything: they run again when they fail, and their results are kept.
impl Guest for Component {
    /// The n-th Fibonacci number.
    fn fibo(n: u8) -> Result<u64, ()> {
        if n > 93 {
            return Err(()); // does not fit
        }
        let (mut last, mut following) = (0_u64, 1_u64);
        for _ in 0..n {
            (last, following) = (following, last.wrapping_add(following));
        }
        Ok(last)
    }
}
