// The epilogue itself, included once per instruction set by a file that first defines, in its own unnamed namespace:
//   Vec           kLanes floats: load, store, broadcast, sum(depth, diff), add, mul, max, min, select, and masks
//                 less(a, b), less_equal(a, b) with one bit per lane
//   counts_below  one bit per lane where depth - 2 * diff < below
// No include guard: every including file compiles its own copy for its own instruction set.

namespace onebit {
namespace {

constexpr size_t kVectors = kBlock / Vec::kLanes;

// One pixel's block of channels. Every index below is a constant after unrolling, so this lives in registers.
struct Row {
  Vec v[kVectors];
};

// f(vector, its first channel), both constants.
template <class Function>
ONEBIT_INLINE void for_each_vector(Function f) {
  unroll<kVectors>([&](auto i) ONEBIT_INLINE_LAMBDA { f(i, std::integral_constant<size_t, i * Vec::kLanes>{}); });
}

// Words of bits are filled lane by lane; kLanes divides 32.
template <class Mask>
ONEBIT_INLINE void collect(uint32_t (&word)[2], Mask mask) {
  word[0] = word[1] = 0;
  for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA { word[c / kWordBits] |= mask(i, c) << (c % kWordBits); });
}

// Bits beyond the last channel are 0 by contract.
ONEBIT_INLINE void store_bits(uint32_t* out, uint32_t (&word)[2], size_t channels) {
  if (channels <= kWordBits) {
    out[0] = word[0] & (0xFFFFFFFFu >> (kWordBits - channels));
  } else {
    out[0] = word[0];
    out[1] = word[1] & (0xFFFFFFFFu >> (kBlock - channels));
  }
}

ONEBIT_INLINE void load_row(Row& row, const float* from) {
  for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA { row.v[i] = Vec::load(from + c); });
}

ONEBIT_INLINE void add_value(Row& row, const float* from, size_t channels) {
  float whole[kBlock];
  if (channels < kBlock) {  // the last tile of a map must not read past the map's end
    __builtin_memset(whole, 0, sizeof whole);
    __builtin_memcpy(whole, from, channels * sizeof(float));
    from = whole;
  }
  for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA { row.v[i] = Vec::add(row.v[i], Vec::load(from + c)); });
}

ONEBIT_INLINE void store_value(const Row& row, float* to, size_t channels) {
  if (channels == kBlock) {
    for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA { row.v[i].store(to + c); });
  } else {
    float whole[kBlock];
    for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA { row.v[i].store(whole + c); });
    __builtin_memcpy(to, whole, channels * sizeof(float));
  }
}

ONEBIT_INLINE void finish_pixel(const EpilogueTile& t, size_t pixel, Row& row) {
  const size_t element = pixel * t.total_channels + t.channel;
  const size_t word = pixel * words_for(t.total_channels) + t.channel / kWordBits;
  const Vec zero = Vec::broadcast(0.0f);
  for (size_t s = 0; s < t.step_count; ++s) {
    const StepPlan& step = t.steps[s];
    const float *first = step.first + t.table, *second = step.second + t.table;
    switch (step.kind) {
      case StepKind::affine:
        for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA {
          row.v[i] = Vec::add(Vec::mul(row.v[i], Vec::load(first + c)), Vec::load(second + c));
        });
        break;
      case StepKind::slopes:
        for_each_vector([&](auto i, auto c) ONEBIT_INLINE_LAMBDA {
          row.v[i] = Vec::add(Vec::mul(Vec::max(row.v[i], zero), Vec::load(first + c)),
                              Vec::mul(Vec::min(row.v[i], zero), Vec::load(second + c)));
        });
        break;
      case StepKind::clamp: {
        const Vec low = Vec::broadcast(step.low), high = Vec::broadcast(step.high);
        for_each_vector([&](auto i, auto) ONEBIT_INLINE_LAMBDA { row.v[i] = Vec::min(Vec::max(row.v[i], low), high); });
        break;
      }
      case StepKind::add:
        add_value(row, reinterpret_cast<const float*>(t.values[step.value]) + element, t.channels);
        break;
      case StepKind::levels: {
        const Vec low = Vec::broadcast(step.low), high = Vec::broadcast(step.high);
        for_each_vector([&](auto i, auto) ONEBIT_INLINE_LAMBDA {
          row.v[i] =
              Vec::select(step.inclusive ? Vec::less_equal(row.v[i], zero) : Vec::less(row.v[i], zero), low, high);
        });
        break;
      }
      case StepKind::binarize: {
        uint32_t words[2];
        if (step.inclusive) {
          collect(words, [&](auto i, auto c) ONEBIT_INLINE_LAMBDA {
            return Vec::bits(Vec::less_equal(row.v[i], Vec::load(first + c)));
          });
        } else {
          collect(words, [&](auto i, auto c)
                             ONEBIT_INLINE_LAMBDA { return Vec::bits(Vec::less(row.v[i], Vec::load(first + c))); });
        }
        store_bits(reinterpret_cast<uint32_t*>(t.values[step.value]) + word, words, t.channels);
        break;
      }
      case StepKind::store:
        store_value(row, reinterpret_cast<float*>(t.values[step.value]) + element, t.channels);
        break;
      case StepKind::threshold:  // handled on the integers, below
        break;
    }
  }
}

void finish_threshold(const EpilogueTile& t, const int32_t* diff, size_t stride, const int32_t* const* depth) {
  const StepPlan& step = t.steps[0];
  const int32_t* below = step.below + t.table;
  const uint32_t* flip = step.flip + t.table / kWordBits;
  const size_t words = words_for(t.total_channels);
  uint32_t* out = reinterpret_cast<uint32_t*>(t.values[step.value]) + t.pixel * words + t.channel / kWordBits;
  for (size_t p = 0; p < t.pixel_count; ++p, diff += stride, out += words * t.pixel_step) {
    uint32_t word[2];
    collect(word, [&](auto, auto c) ONEBIT_INLINE_LAMBDA { return counts_below(depth[p] + c, diff + c, below + c); });
    word[0] ^= flip[0];
    word[1] ^= flip[1];
    store_bits(out, word, t.channels);
  }
}

void finish_counts(const EpilogueTile& t, const int32_t* diff, size_t stride, const int32_t* const* depth) {
  if (t.steps[0].kind == StepKind::threshold) return finish_threshold(t, diff, stride, depth);
  size_t pixel = t.pixel;
  for (size_t p = 0; p < t.pixel_count; ++p, pixel += t.pixel_step) {
    Row row;
    for_each_vector([&](auto i, auto c)
                        ONEBIT_INLINE_LAMBDA { row.v[i] = Vec::sum(depth[p] + c, diff + p * stride + c); });
    finish_pixel(t, pixel, row);
  }
}

void finish_floats(const EpilogueTile& t, const float* y, size_t stride) {
  size_t pixel = t.pixel;
  for (size_t p = 0; p < t.pixel_count; ++p, pixel += t.pixel_step) {
    Row row;
    load_row(row, y + p * stride);
    finish_pixel(t, pixel, row);
  }
}

}  // namespace
}  // namespace onebit
