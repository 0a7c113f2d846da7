;; template-fibo:activity/fibo-activity-ifc, by hand: what a compiler would make of
;;
;;   fn fibo(n: u8) -> Result<u64, ()> { Ok(if n < 2 { n } else { fibo(n - 1) + fibo(n - 2) }) }
;;
;; build.py turns this core module and the world `activity-myfibo` of wit/ into a component.
(module
  (memory (export "memory") 1)

  ;; result<u64> is returned as the address of its tag (u8; 0 is ok) and, 8 bytes on, its payload.
  (func (export "template-fibo:activity/fibo-activity-ifc#fibo") (param $n i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i64.store (i32.const 24) (call $fibo (i64.extend_i32_u (local.get $n))))
    (i32.const 16))

  ;; Slow on purpose: the example is about work that takes time.
  (func $fibo (param $n i64) (result i64)
    (if (result i64) (i64.lt_u (local.get $n) (i64.const 2))
      (then (local.get $n))
      (else
        (i64.add
          (call $fibo (i64.sub (local.get $n) (i64.const 1)))
          (call $fibo (i64.sub (local.get $n) (i64.const 2)))))))
)
