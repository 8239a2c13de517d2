// Ops that compute nothing themselves: elementwise, flatten, pad_channels, shuffle_channels, concat.
#include <algorithm>

#include "ops/op.h"

namespace onebit {
namespace {

class Elementwise final : public Op {
 public:
  Elementwise(Shape shape, ValueRef input, Epilogue epilogue)
      : shape_(shape), input_(input), epilogue_(std::move(epilogue)) {}

  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    context.team.for_ranges(shape_.height * shape_.width, [&](size_t begin, size_t end, size_t) {
      epilogue_.finish(context, input_, begin, end - begin, 0, shape_.channels);
    });
  }

 private:
  Shape shape_;
  ValueRef input_;
  Epilogue epilogue_;
};

class Flatten final : public Op {
 public:
  Flatten(Shape shape, ValueRef input, Epilogue epilogue)
      : shape_(shape), input_(input), epilogue_(std::move(epilogue)) {}

  size_t scratch_bytes() const override { return (input_.half ? 2 : 1) * elements() * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    auto* flat = reinterpret_cast<float*>(context.scratch);
    const float* map = epilogue_.floats(context, input_, 0, elements(), flat + elements());
    const size_t pixels = shape_.height * shape_.width;
    for (size_t c = 0; c < shape_.channels; ++c) {
      for (size_t p = 0; p < pixels; ++p) flat[c * pixels + p] = map[p * shape_.channels + c];
    }
    epilogue_.finish(context, flat, elements(), 0, 1);
  }

 private:
  size_t elements() const { return shape_.height * shape_.width * shape_.channels; }

  Shape shape_;
  ValueRef input_;
  Epilogue epilogue_;
};

class ShuffleChannels final : public Op {
 public:
  ShuffleChannels(Shape shape, ValueRef input, size_t groups, Epilogue epilogue)
      : shape_(shape), input_(input), groups_(groups), epilogue_(std::move(epilogue)) {}

  size_t worker_scratch_bytes() const override { return (input_.half ? 2 : 1) * shape_.channels * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    const size_t each = shape_.channels / groups_;
    context.team.for_ranges(shape_.height * shape_.width, [&](size_t begin, size_t end, size_t worker) {
      auto* mixed = reinterpret_cast<float*>(context.worker_scratch[worker]);
      for (size_t pixel = begin; pixel < end; ++pixel) {
        const float* from =
            epilogue_.floats(context, input_, pixel * shape_.channels, shape_.channels, mixed + shape_.channels);
        for (size_t group = 0; group < groups_; ++group) {
          for (size_t i = 0; i < each; ++i) mixed[i * groups_ + group] = *from++;
        }
        epilogue_.finish(context, mixed, shape_.channels, pixel, 1);
      }
    });
  }

 private:
  Shape shape_;
  ValueRef input_;
  size_t groups_;
  Epilogue epilogue_;
};

// The channels of several values one after the other, with zeros between them for pad_channels.
class Concat final : public Op {
 public:
  static constexpr ValueRef kZeros{SIZE_MAX};  // in place of a value

  struct Part {
    ValueRef value;
    size_t channels;

    bool is_zeros() const { return value.index == kZeros.index; }
  };

  Concat(Store& store, size_t pixels, std::vector<Part> parts, Epilogue epilogue)
      : pixels_(pixels), parts_(std::move(parts)), epilogue_(std::move(epilogue)) {
    size_t zeros = 0;
    for (const Part& part : parts_) {
      whole_words_ = whole_words_ && channels_ % kWordBits == 0;
      channels_ += part.channels;
      if (part.is_zeros()) zeros = std::max(zeros, part.channels);
    }
    if (zeros > 0) zeros_ = store.zeros<float>(zeros);
  }

  size_t worker_scratch_bytes() const override { return whole_words_ ? 0 : channels_ * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    context.team.for_ranges(pixels_, [&](size_t begin, size_t end, size_t worker) {
      if (whole_words_) {
        finish_parts(context, begin, end);
      } else {
        finish_copies(context, begin, end, reinterpret_cast<float*>(context.worker_scratch[worker]));
      }
    });
  }

 private:
  // Parts that start with a word of bits are not copied. A few pixels at a time, so that the words of a pixel stay in
  // cache while several parts write them.
  void finish_parts(const RunContext& context, size_t begin, size_t end) const {
    constexpr size_t kTogether = 64;
    for (size_t pixel = begin; pixel < end; pixel += kTogether) {
      const size_t count = std::min(kTogether, end - pixel);
      size_t channel = 0;
      for (const Part& part : parts_) {
        if (part.is_zeros()) {
          epilogue_.finish(context, zeros_, 0, pixel, count, channel, part.channels);
        } else {
          epilogue_.finish(context, part.value, pixel, count, channel, part.channels);
        }
        channel += part.channels;
      }
    }
  }

  void finish_copies(const RunContext& context, size_t begin, size_t end, float* wide) const {
    for (size_t pixel = begin; pixel < end; ++pixel) {
      float* to = wide;
      for (const Part& part : parts_) {
        const float* from =
            part.is_zeros() ? zeros_ : epilogue_.floats(context, part.value, pixel * part.channels, part.channels, to);
        if (from != to) std::copy_n(from, part.channels, to);
        to += part.channels;
      }
      epilogue_.finish(context, wide, channels_, pixel, 1);
    }
  }

  size_t pixels_, channels_ = 0;
  std::vector<Part> parts_;
  Epilogue epilogue_;
  bool whole_words_ = true;  // every part starts with a word
  const float* zeros_ = nullptr;
};

}  // namespace

std::unique_ptr<Op> make_elementwise(Shape input_shape, ValueRef input, Epilogue epilogue) {
  return std::make_unique<Elementwise>(input_shape, input, std::move(epilogue));
}

std::unique_ptr<Op> make_flatten(Shape input_shape, ValueRef input, Epilogue epilogue) {
  return std::make_unique<Flatten>(input_shape, input, std::move(epilogue));
}

std::unique_ptr<Op> make_pad_channels(Store& store, Shape input_shape, ValueRef input, size_t before, size_t after,
                                      Epilogue epilogue) {
  std::vector<Concat::Part> parts;
  if (before > 0) parts.push_back({Concat::kZeros, before});
  parts.push_back({input, input_shape.channels});
  if (after > 0) parts.push_back({Concat::kZeros, after});
  return std::make_unique<Concat>(store, input_shape.height * input_shape.width, std::move(parts), std::move(epilogue));
}

std::unique_ptr<Op> make_shuffle_channels(Shape input_shape, ValueRef input, size_t groups, Epilogue epilogue) {
  return std::make_unique<ShuffleChannels>(input_shape, input, groups, std::move(epilogue));
}

std::unique_ptr<Op> make_concat(Store& store, const std::vector<Shape>& input_shapes,
                                const std::vector<ValueRef>& inputs, Epilogue epilogue) {
  std::vector<Concat::Part> parts;
  for (size_t i = 0; i < inputs.size(); ++i) parts.push_back({inputs[i], input_shapes[i].channels});
  return std::make_unique<Concat>(store, input_shapes[0].height * input_shapes[0].width, std::move(parts),
                                  std::move(epilogue));
}

}  // namespace onebit
