;; template-fibo:workflow/fibo-workflow-ifc, by hand: what a compiler would make of
;;
;;   fn fiboa(n: u8, iterations: u32) -> Result<u64, ()> {
;;       let mut last = 0;
;;       for _ in 0..iterations { last = fibo(n)?; }
;;       Ok(last)
;;   }
;;
;;   fn fiboa_concurrent(n: u8, iterations: u32) -> Result<u64, ()> {
;;       let join_set = join_set_create();
;;       for _ in 0..iterations { fibo_submit(&join_set, n); }
;;       let mut last = 0;
;;       for _ in 0..iterations { last = fibo_await_next(&join_set).map_err(|_| ())?.1?; }
;;       Ok(last)                                       // here, and at each `?`, `join_set` is dropped
;;   }
;;
;; build.py turns this core module and the world `myworkflow` of wit/ into a component.
(module
  ;; A result of more than one core value comes back through memory: the last parameter says where to.
  (import "template-fibo:activity/fibo-activity-ifc" "fibo"
    (func $fibo (param $n i32) (param $result i32)))
  (import "template-fibo:activity-obelisk-ext/fibo-activity-ifc" "fibo-submit"
    (func $fibo_submit (param $join_set i32) (param $n i32) (param $result i32)))
  (import "template-fibo:activity-obelisk-ext/fibo-activity-ifc" "fibo-await-next"
    (func $fibo_await_next (param $join_set i32) (param $result i32)))
  (import "obelisk:workflow/workflow-support@5.1.0" "join-set-create"
    (func $join_set_create (result i32)))
  (import "obelisk:types/join-set@4.2.0" "[resource-drop]join-set"
    (func $join_set_drop (param $join_set i32)))

  ;; Memory: from 16 on, what this module returns (a result<u64>); from 64 on, what a host call returns (64 bytes at
  ;; most); from 1024 on, strings that come with it (ids), thrown away before the next call.
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.shl (memory.size) (i32.const 16))))
      (br_if $fits
        (i32.ne (i32.const -1)
          (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16))))))
      (unreachable))
    (memory.copy (local.get $at) (local.get $old) (local.get $old_size))
    (local.get $at))

  (func $forget_strings
    (global.set $heap (i32.const 1024)))

  (func $ok (param $value i64) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i64.store (i32.const 24) (local.get $value))
    (i32.const 16))

  (func $err (result i32)
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.const 16))

  (func (export "template-fibo:workflow/fibo-workflow-ifc#fiboa") (param $n i32) (param $iterations i32) (result i32)
    (local $last i64)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $iterations)))
        (call $fibo (local.get $n) (i32.const 64))
        ;; result<u64>: tag at 0, value at 8
        (if (i32.load8_u (i32.const 64)) (then (return (call $err))))
        (local.set $last (i64.load (i32.const 72)))
        (local.set $iterations (i32.sub (local.get $iterations) (i32.const 1)))
        (br $next)))
    (call $ok (local.get $last)))

  (func (export "template-fibo:workflow/fibo-workflow-ifc#fiboa-concurrent")
    (param $n i32) (param $iterations i32) (result i32)
    (local $join_set i32) (local $left i32) (local $last i64)
    (local.set $join_set (call $join_set_create))
    (local.set $left (local.get $iterations))
    (block $submitted
      (loop $next
        (br_if $submitted (i32.eqz (local.get $left)))
        (call $forget_strings)
        (call $fibo_submit (local.get $join_set) (local.get $n) (i32.const 64))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (local.set $left (local.get $iterations))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (call $forget_strings)
        (call $fibo_await_next (local.get $join_set) (i32.const 64))
        ;; result<tuple<execution-id, result<u64>>, ...>: tag at 0; the id at 8; the inner tag at 16, its value at 24
        (if
          (i32.or
            (i32.load8_u (i32.const 64))
            (i32.load8_u (i32.const 80)))
          (then
            (call $join_set_drop (local.get $join_set))
            (return (call $err))))
        (local.set $last (i64.load (i32.const 88)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (call $join_set_drop (local.get $join_set))
    (call $ok (local.get $last)))
)
