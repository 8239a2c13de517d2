// Pooling of floats and of bits.
#include <algorithm>

#include "ops/pool_window.h"

namespace onebit {

Pair pooling_output(const Pooling& g, Shape input) {
  Convolution same;
  same.kernel = g.kernel;
  same.stride = g.stride;
  same.padding = g.padding;
  return convolution_output(same, input);
}

namespace {

class FloatPool final : public RowOp {
 public:
  enum class Kind { maximum, average_of_all_taps, average_of_inside_taps };

  FloatPool(Store& store, Kind kind, const PooledMap& map, Epilogue epilogue)
      : kind_(kind),
        map_(map),
        output_(pooling_output(map.geometry, map.shape)),
        epilogue_(std::move(epilogue)),
        zeros_(reinterpret_cast<const uint8_t*>(store.zeros<float>(map.shape.channels))) {}

  size_t worker_scratch_bytes() const override { return tile_pixels() * taps() * sizeof(const uint8_t*); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  size_t rows() const override { return output_.vertical; }

  void run_rows(const RunContext& context, size_t begin, size_t end) const override {
    const size_t width = output_.horizontal;
    context.team.for_ranges((end - begin) * width, [&](size_t first, size_t last, size_t worker) {
      auto* addresses = reinterpret_cast<const uint8_t**>(context.worker_scratch[worker]);
      float divisors[kMaxPixels];
      for (size_t pixel = begin * width + first; pixel < begin * width + last; pixel += tile_pixels()) {
        const size_t count = std::min(tile_pixels(), begin * width + last - pixel);
        size_t y = pixel / width, x = pixel % width;
        for (size_t p = 0; p < count; ++p) {
          const Window window = window_at(map_.geometry, map_.shape, y, x);
          find_taps(context, window, addresses + p * taps());
          divisors[p] = static_cast<float>(kind_ == Kind::average_of_all_taps ? taps() : window.taps());
          if (++x == width) {
            x = 0;
            ++y;
          }
        }
        epilogue_.finish(context, {addresses, taps(), map_.value.half, kind_ == Kind::maximum ? nullptr : divisors},
                         pixel, count);
      }
    });
  }

 private:
  size_t taps() const { return map_.geometry.kernel.vertical * map_.geometry.kernel.horizontal; }
  // A large window is a tile of its own, since its list of addresses is long.
  size_t tile_pixels() const { return taps() <= kMaxPixels ? kMaxPixels : 1; }

  // The addresses of the window's taps. Taps outside the map come last and are replaced by ones without effect.
  void find_taps(const RunContext& context, const Window& window, const uint8_t** tap) const {
    const size_t pixel_bytes = map_.pixel_bytes(), width = map_.shape.width;
    const uint8_t* const first = context.address(map_.value.index, window.top * width + window.left, pixel_bytes);
    const uint8_t** const end = tap + taps();
    for (size_t y = 0; y < window.bottom - window.top; ++y) {
      for (size_t x = 0; x < window.right - window.left; ++x) *tap++ = first + (y * width + x) * pixel_bytes;
    }
    std::fill(tap, end, kind_ == Kind::maximum ? first : zeros_);
  }

  Kind kind_;
  PooledMap map_;
  Pair output_;
  Epilogue epilogue_;
  const uint8_t* zeros_;
};

// The maximum of a channel is -1 (bit 1) only if all its bits are 1: a bitwise AND. The minimum is the same with all
// bits flipped before and after.
class BitPool final : public Op {
 public:
  BitPool(Store& store, Shape shape, size_t input, const Pooling& geometry, const Table<uint32_t>& flip, size_t output)
      : shape_(shape),
        input_(input),
        output_(output),
        geometry_(geometry),
        size_(pooling_output(geometry, shape)),
        flip_(store.block<uint32_t>(Key("flip", flip), flip.size(),
                                    [flip](uint32_t* copy, Poll&) { std::copy(flip.begin(), flip.end(), copy); })) {}

  const char* kernel() const override { return "bit_pool"; }

  void run(const RunContext& context) const override {
    const size_t words = words_for(shape_.channels);
    const auto* map = reinterpret_cast<const uint32_t*>(context.values[input_]);
    auto* result = reinterpret_cast<uint32_t*>(context.values[output_]);
    context.team.for_ranges(size_.vertical, [&](size_t begin, size_t end, size_t) {
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
  const uint32_t* flip_;
};

}  // namespace

std::unique_ptr<Op> make_max_pool2d(Store& store, const PooledMap& map, Epilogue epilogue) {
  return std::make_unique<FloatPool>(store, FloatPool::Kind::maximum, map, std::move(epilogue));
}

std::unique_ptr<Op> make_avg_pool2d(Store& store, const PooledMap& map, bool count_include_pad, Epilogue epilogue) {
  const auto kind = count_include_pad ? FloatPool::Kind::average_of_all_taps : FloatPool::Kind::average_of_inside_taps;
  return std::make_unique<FloatPool>(store, kind, map, std::move(epilogue));
}

std::unique_ptr<Op> make_bit_max_pool2d(Store& store, Shape input_shape, size_t input, const Pooling& geometry,
                                        const Table<uint32_t>& flip, size_t output) {
  return std::make_unique<BitPool>(store, input_shape, input, geometry, flip, output);
}

}  // namespace onebit
