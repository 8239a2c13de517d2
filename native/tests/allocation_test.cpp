// Running a network does not allocate: all memory is allocated when the engine is built.
#include <atomic>
#include <cstdlib>
#include <new>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

namespace {

std::atomic<size_t> taken{0};

void* take(size_t size, size_t alignment) {
  ++taken;
  void* const p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

// Otherwise GCC inlines them and warns of a mismatch between `new` and `free`.
#define NOT_INLINE __attribute__((noinline))
NOT_INLINE void* operator new(size_t size) { return take(size, alignof(std::max_align_t)); }
NOT_INLINE void* operator new(size_t size, std::align_val_t alignment) {
  return take(size, static_cast<size_t>(alignment));
}
NOT_INLINE void operator delete(void* p) noexcept { std::free(p); }
NOT_INLINE void operator delete(void* p, size_t) noexcept { std::free(p); }
NOT_INLINE void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
NOT_INLINE void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }

TEST(running_takes_no_memory) {
  const Shape input{64, 64, 3};
  const auto conv = [](size_t out, size_t kernel, size_t stride, size_t groups = 1) {
    return Convolution{{kernel, kernel}, {stride, stride}, {kernel / 2, kernel / 2}, {1, 1}, groups, out};
  };
  for (const Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) continue;
    for (size_t threads : {1, 2, 3}) {
      Builder b("x", input, std::vector<float>(3, 0.5f), std::vector<float>(3, 0.25f), {threads, name(isa), false});
      b.conv2d("stem", "x", conv(64, 7, 2), std::vector<float>(64 * 49 * 3, 0.1f), {Step::store("map")});
      b.max_pool2d("pool", "map", {{2, 2}, {2, 2}, {0, 0}}, {Step::store("sum"), Step::binarize("bits", Rule::sign)});
      b.binary_conv2d("wide", "bits", conv(64, 3, 1), 0, std::vector<uint32_t>(64 * 9 * 2),
                      {Step::add("sum"), Step::binarize("next", Rule::sign), Step::store("more")});
      b.binary_conv2d("groups", "next", conv(48, 3, 1, 4), 1, std::vector<uint32_t>(48 * 9), {Step::store("few")}, 2);
      b.concat("joined", {"few", "more"}, {Step::store("both", ValueType::float16)});
      b.avg_pool2d("mean", "both", {{16, 16}, {1, 1}, {0, 0}}, true, {Step::store("flat")});
      b.conv2d("classes", "flat", conv(10, 1, 1), std::vector<float>(10 * 112, 0.1f), {Step::store("y")});
      const auto engine = b.finish("y");
      const std::vector<uint8_t> pixels(2 * 64 * 64 * 3, 77);
      const std::vector<float> floats(2 * 64 * 64 * 3, 0.5f);
      std::vector<float> y(2 * 10);
      const size_t before = taken;
      CHECK(before > 0);
      engine->run(pixels.data(), 2, y.data());
      engine->run(floats.data(), 2, y.data());
      CHECK_NOTE(taken == before, std::string(name(isa)) + " threads " + std::to_string(threads));
    }
  }
}

RUN_TESTS()
