// Pooling over floats and over bits.
#include <algorithm>
#include <cstring>
#include <limits>

#include "ops/op.h"

namespace onebit {

Pair pooling_output(const Pooling& g, Shape input) {
  Convolution same;
  same.kernel = g.kernel;
  same.stride = g.stride;
  same.padding = g.padding;
  return convolution_output(same, input);
}

namespace {

// The part of a window that lies inside the map.
struct Window {
  size_t top, bottom, left, right;  // half-open

  size_t taps() const { return (bottom - top) * (right - left); }
};

Window window_at(const Pooling& g, Shape input, size_t y, size_t x) {
  const auto clip = [](size_t position, size_t stride, size_t padding, size_t kernel, size_t length) {
    const size_t begin = position * stride, end = begin + kernel;  // in padded coordinates
    return Pair{std::max(begin, padding) - padding, std::min(end, padding + length) - padding};
  };
  const Pair rows = clip(y, g.stride.vertical, g.padding.vertical, g.kernel.vertical, input.height);
  const Pair columns = clip(x, g.stride.horizontal, g.padding.horizontal, g.kernel.horizontal, input.width);
  return {rows.vertical, rows.horizontal, columns.vertical, columns.horizontal};
}

struct Maximum {
  static float start() { return -std::numeric_limits<float>::infinity(); }
  static float join(float a, float b) { return a > b ? a : b; }
};

struct Sum {
  static float start() { return 0.0f; }
  static float join(float a, float b) { return a + b; }
};

// result[c] = join of map[y][x][c] over the window.
template <class Rule>
void reduce(const float* map, Shape shape, const Window& window, float* result) {
  std::fill_n(result, shape.channels, Rule::start());
  for (size_t y = window.top; y < window.bottom; ++y) {
    for (size_t x = window.left; x < window.right; ++x) {
      const float* pixel = map + (y * shape.width + x) * shape.channels;
      for (size_t c = 0; c < shape.channels; ++c) result[c] = Rule::join(result[c], pixel[c]);
    }
  }
}

class FloatPool final : public Op {
 public:
  enum class Kind { maximum, average_of_all_taps, average_of_inside_taps };

  FloatPool(Kind kind, Shape shape, size_t input, const Pooling& geometry, Epilogue epilogue)
      : kind_(kind),
        shape_(shape),
        input_(input),
        geometry_(geometry),
        output_(pooling_output(geometry, shape)),
        epilogue_(std::move(epilogue)) {}

  size_t worker_scratch_bytes() const override { return shape_.channels * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    const auto* map = reinterpret_cast<const float*>(context.values[input_]);
    context.pool.for_ranges(output_.vertical * output_.horizontal, [&](size_t begin, size_t end, size_t worker) {
      auto* result = reinterpret_cast<float*>(context.worker_scratch[worker]);
      for (size_t pixel = begin; pixel < end; ++pixel) {
        pool(map, window_at(geometry_, shape_, pixel / output_.horizontal, pixel % output_.horizontal), result);
        epilogue_.finish(context, result, shape_.channels, pixel, 1);
      }
    });
  }

 private:
  void pool(const float* map, const Window& window, float* result) const {
    if (kind_ == Kind::maximum) return reduce<Maximum>(map, shape_, window, result);
    reduce<Sum>(map, shape_, window, result);
    const size_t all = geometry_.kernel.vertical * geometry_.kernel.horizontal;
    const auto taps = static_cast<float>(kind_ == Kind::average_of_all_taps ? all : window.taps());
    for (size_t c = 0; c < shape_.channels; ++c) result[c] /= taps;
  }

  Kind kind_;
  Shape shape_;
  size_t input_;
  Pooling geometry_;
  Pair output_;
  Epilogue epilogue_;
};

// The maximum of a channel is -1 (bit 1) only if all its bits are 1: an "and". The minimum is the same with all bits
// turned over before and after.
class BitPool final : public Op {
 public:
  BitPool(Shape shape, size_t input, const Pooling& geometry, const std::vector<uint32_t>& flip, size_t output)
      : shape_(shape),
        input_(input),
        output_(output),
        geometry_(geometry),
        size_(pooling_output(geometry, shape)),
        flip_(flip) {}

  const char* kernel() const override { return "bit_pool"; }

  void run(const RunContext& context) const override {
    const size_t words = words_for(shape_.channels);
    const auto* map = reinterpret_cast<const uint32_t*>(context.values[input_]);
    auto* result = reinterpret_cast<uint32_t*>(context.values[output_]);
    context.pool.for_ranges(size_.vertical, [&](size_t begin, size_t end, size_t) {
      for (size_t y = begin; y < end; ++y) {
        for (size_t x = 0; x < size_.horizontal; ++x) {
          pool(map, window_at(geometry_, shape_, y, x), words, result + (y * size_.horizontal + x) * words);
        }
      }
    });
  }

 private:
  void pool(const uint32_t* map, const Window& window, size_t words, uint32_t* result) const {
    std::fill_n(result, words, 0xFFFFFFFFu);
    for (size_t y = window.top; y < window.bottom; ++y) {
      for (size_t x = window.left; x < window.right; ++x) {
        const uint32_t* pixel = map + (y * shape_.width + x) * words;
        for (size_t w = 0; w < words; ++w) result[w] &= pixel[w] ^ flip_[w];
      }
    }
    for (size_t w = 0; w < words; ++w) result[w] ^= flip_[w];
  }

  Shape shape_;
  size_t input_, output_;
  Pooling geometry_;
  Pair size_;
  std::vector<uint32_t> flip_;
};

}  // namespace

std::unique_ptr<Op> make_max_pool2d(Shape input_shape, size_t input, const Pooling& geometry, Epilogue epilogue) {
  return std::make_unique<FloatPool>(FloatPool::Kind::maximum, input_shape, input, geometry, std::move(epilogue));
}

std::unique_ptr<Op> make_avg_pool2d(Shape input_shape, size_t input, const Pooling& geometry, bool count_include_pad,
                                    Epilogue epilogue) {
  const auto kind = count_include_pad ? FloatPool::Kind::average_of_all_taps : FloatPool::Kind::average_of_inside_taps;
  return std::make_unique<FloatPool>(kind, input_shape, input, geometry, std::move(epilogue));
}

std::unique_ptr<Op> make_bit_max_pool2d(Shape input_shape, size_t input, const Pooling& geometry,
                                        const std::vector<uint32_t>& flip, size_t output) {
  return std::make_unique<BitPool>(input_shape, input, geometry, flip, output);
}

}  // namespace onebit
