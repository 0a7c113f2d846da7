#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Memory. There is no free: a component lives for one execution. A long loop may take a mark before it asks for results that
// have strings or lists, and forget them all when it has seen them.

extern unsigned char __heap_base;
static uintptr_t memory_end;

static inline void *memory_mark(void) {
  if (!memory_end) memory_end = (uintptr_t)&__heap_base;
  return (void *)memory_end;
}

static inline void memory_forget(void *mark) { memory_end = (uintptr_t)mark; }

static inline void *memory_take(size_t size, size_t align) {
  uintptr_t begin = ((uintptr_t)memory_mark() + align - 1) & ~(uintptr_t)(align - 1);
  size_t there = __builtin_wasm_memory_size(0) << 16;
  if (begin + size < begin) __builtin_trap();
  if (begin + size > there && __builtin_wasm_memory_grow(0, (begin + size - there + 0xffff) >> 16) == (size_t)-1) {
    __builtin_trap();
  }
  memory_end = begin + size;
  return (void *)begin;
}

// What compilers call by themselves.

void *memcpy(void *restrict to, const void *restrict from, size_t size) { return __builtin_memcpy(to, from, size); }
void *memmove(void *to, const void *from, size_t size) { return __builtin_memmove(to, from, size); }
void *memset(void *to, int byte, size_t size) { return __builtin_memset(to, byte, size); }

// By which strings and lists come in.
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  void *made = memory_take(size, align);
  return old_size ? __builtin_memcpy(made, old, old_size < size ? old_size : size) : made;
}

static inline int32_t bits_of_f32(float value) { union { float f; int32_t i; } both = {.f = value}; return both.i; }
static inline float f32_of_bits(int32_t value) { union { int32_t i; float f; } both = {.i = value}; return both.f; }
static inline int64_t bits_of_f64(double value) { union { double f; int64_t i; } both = {.f = value}; return both.i; }
static inline double f64_of_bits(int64_t value) { union { int64_t i; double f; } both = {.i = value}; return both.f; }

typedef struct {
  const char *ptr;
  size_t len;
} string_t;

// A literal as a string: STRING("hello").
#define STRING(literal) ((string_t){(literal), sizeof(literal) - 1})
