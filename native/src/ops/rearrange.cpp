// Ops that compute nothing themselves: elementwise, flatten, pad_channels, shuffle_channels, concat.
#include <algorithm>

#include "ops/op.h"

namespace onebit {
namespace {

class Elementwise final : public Op {
 public:
  Elementwise(Shape shape, size_t input, Epilogue epilogue)
      : shape_(shape), input_(input), epilogue_(std::move(epilogue)) {}

  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    const auto* map = reinterpret_cast<const float*>(context.values[input_]);
    context.pool.for_ranges(shape_.height * shape_.width, [&](size_t begin, size_t end, size_t) {
      epilogue_.finish(context, map + begin * shape_.channels, shape_.channels, begin, end - begin);
    });
  }

 private:
  Shape shape_;
  size_t input_;
  Epilogue epilogue_;
};

class Flatten final : public Op {
 public:
  Flatten(Shape shape, size_t input, Epilogue epilogue)
      : shape_(shape), input_(input), epilogue_(std::move(epilogue)) {}

  size_t scratch_bytes() const override { return shape_.height * shape_.width * shape_.channels * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    const auto* map = reinterpret_cast<const float*>(context.values[input_]);
    auto* flat = reinterpret_cast<float*>(context.scratch);
    const size_t pixels = shape_.height * shape_.width;
    for (size_t c = 0; c < shape_.channels; ++c) {
      for (size_t p = 0; p < pixels; ++p) flat[c * pixels + p] = map[p * shape_.channels + c];
    }
    epilogue_.finish(context, flat, pixels * shape_.channels, 0, 1);
  }

 private:
  Shape shape_;
  size_t input_;
  Epilogue epilogue_;
};

class ShuffleChannels final : public Op {
 public:
  ShuffleChannels(Shape shape, size_t input, size_t groups, Epilogue epilogue)
      : shape_(shape), input_(input), groups_(groups), epilogue_(std::move(epilogue)) {}

  size_t worker_scratch_bytes() const override { return shape_.channels * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    const auto* map = reinterpret_cast<const float*>(context.values[input_]);
    const size_t each = shape_.channels / groups_;
    context.pool.for_ranges(shape_.height * shape_.width, [&](size_t begin, size_t end, size_t worker) {
      auto* mixed = reinterpret_cast<float*>(context.worker_scratch[worker]);
      for (size_t pixel = begin; pixel < end; ++pixel) {
        const float* from = map + pixel * shape_.channels;
        for (size_t group = 0; group < groups_; ++group) {
          for (size_t i = 0; i < each; ++i) mixed[i * groups_ + group] = *from++;
        }
        epilogue_.finish(context, mixed, shape_.channels, pixel, 1);
      }
    });
  }

 private:
  Shape shape_;
  size_t input_, groups_;
  Epilogue epilogue_;
};

// Values behind each other, and zeros where pad_channels wants them.
class Concat final : public Op {
 public:
  static constexpr size_t kZeros = SIZE_MAX;  // in place of a value's index

  struct Part {
    size_t value, channels;
  };

  Concat(size_t pixels, std::vector<Part> parts, Epilogue epilogue)
      : pixels_(pixels), parts_(std::move(parts)), epilogue_(std::move(epilogue)) {
    size_t widest = 0;
    for (const Part& part : parts_) {
      whole_words_ = whole_words_ && channels_ % kWordBits == 0;
      channels_ += part.channels;
      widest = std::max(widest, part.channels);
    }
    zeros_ = AlignedBytes(widest * sizeof(float));
  }

  size_t worker_scratch_bytes() const override { return whole_words_ ? 0 : channels_ * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    context.pool.for_ranges(pixels_, [&](size_t begin, size_t end, size_t worker) {
      if (whole_words_) {
        finish_parts(context, begin, end);
      } else {
        finish_copies(context, begin, end, reinterpret_cast<float*>(context.worker_scratch[worker]));
      }
    });
  }

 private:
  // The floats of `part`, with this many from one pixel to the next.
  const float* floats_of(const RunContext& context, const Part& part) const {
    return part.value == kZeros ? zeros_.as<float>() : reinterpret_cast<const float*>(context.values[part.value]);
  }
  static size_t stride_of(const Part& part) { return part.value == kZeros ? 0 : part.channels; }

  // Parts that start with a word of bits need no copy. Some pixels at a time, so that what several parts write of a
  // pixel's words stays in cache.
  void finish_parts(const RunContext& context, size_t begin, size_t end) const {
    constexpr size_t kTogether = 64;
    for (size_t pixel = begin; pixel < end; pixel += kTogether) {
      const size_t count = std::min(kTogether, end - pixel);
      size_t channel = 0;
      for (const Part& part : parts_) {
        epilogue_.finish(context, floats_of(context, part) + pixel * stride_of(part), stride_of(part), pixel, count,
                         channel, part.channels);
        channel += part.channels;
      }
    }
  }

  void finish_copies(const RunContext& context, size_t begin, size_t end, float* wide) const {
    for (size_t pixel = begin; pixel < end; ++pixel) {
      float* to = wide;
      for (const Part& part : parts_) {
        to = std::copy_n(floats_of(context, part) + pixel * stride_of(part), part.channels, to);
      }
      epilogue_.finish(context, wide, channels_, pixel, 1);
    }
  }

  size_t pixels_, channels_ = 0;
  std::vector<Part> parts_;
  Epilogue epilogue_;
  bool whole_words_ = true;  // every part starts with a word
  AlignedBytes zeros_;
};

}  // namespace

std::unique_ptr<Op> make_elementwise(Shape input_shape, size_t input, Epilogue epilogue) {
  return std::make_unique<Elementwise>(input_shape, input, std::move(epilogue));
}

std::unique_ptr<Op> make_flatten(Shape input_shape, size_t input, Epilogue epilogue) {
  return std::make_unique<Flatten>(input_shape, input, std::move(epilogue));
}

std::unique_ptr<Op> make_pad_channels(Shape input_shape, size_t input, size_t before, size_t after, Epilogue epilogue) {
  std::vector<Concat::Part> parts;
  if (before > 0) parts.push_back({Concat::kZeros, before});
  parts.push_back({input, input_shape.channels});
  if (after > 0) parts.push_back({Concat::kZeros, after});
  return std::make_unique<Concat>(input_shape.height * input_shape.width, std::move(parts), std::move(epilogue));
}

std::unique_ptr<Op> make_shuffle_channels(Shape input_shape, size_t input, size_t groups, Epilogue epilogue) {
  return std::make_unique<ShuffleChannels>(input_shape, input, groups, std::move(epilogue));
}

std::unique_ptr<Op> make_concat(const std::vector<Shape>& input_shapes, const std::vector<size_t>& inputs,
                                Epilogue epilogue) {
  std::vector<Concat::Part> parts;
  for (size_t i = 0; i < inputs.size(); ++i) parts.push_back({inputs[i], input_shapes[i].channels});
  return std::make_unique<Concat>(input_shapes[0].height * input_shapes[0].width, std::move(parts),
                                  std::move(epilogue));
}

}  // namespace onebit
