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

class PadChannels final : public Op {
 public:
  PadChannels(Shape shape, size_t input, size_t before, size_t after, Epilogue epilogue)
      : shape_(shape),
        input_(input),
        before_(before),
        channels_(before + shape.channels + after),
        epilogue_(std::move(epilogue)) {}

  size_t worker_scratch_bytes() const override { return channels_ * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    const auto* map = reinterpret_cast<const float*>(context.values[input_]);
    context.pool.for_ranges(shape_.height * shape_.width, [&](size_t begin, size_t end, size_t worker) {
      auto* wide = reinterpret_cast<float*>(context.worker_scratch[worker]);
      std::fill_n(wide, channels_, 0.0f);
      for (size_t pixel = begin; pixel < end; ++pixel) {
        std::copy_n(map + pixel * shape_.channels, shape_.channels, wide + before_);
        epilogue_.finish(context, wide, channels_, pixel, 1);
      }
    });
  }

 private:
  Shape shape_;
  size_t input_, before_, channels_;
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

class Concat final : public Op {
 public:
  Concat(const std::vector<Shape>& shapes, const std::vector<size_t>& inputs, Epilogue epilogue)
      : pixels_(shapes[0].height * shapes[0].width), inputs_(inputs), epilogue_(std::move(epilogue)) {
    for (const Shape& shape : shapes) {
      widths_.push_back(shape.channels);
      channels_ += shape.channels;
    }
  }

  size_t worker_scratch_bytes() const override { return channels_ * sizeof(float); }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    context.pool.for_ranges(pixels_, [&](size_t begin, size_t end, size_t worker) {
      auto* wide = reinterpret_cast<float*>(context.worker_scratch[worker]);
      for (size_t pixel = begin; pixel < end; ++pixel) {
        float* to = wide;
        for (size_t i = 0; i < inputs_.size(); ++i) {
          const auto* map = reinterpret_cast<const float*>(context.values[inputs_[i]]);
          to = std::copy_n(map + pixel * widths_[i], widths_[i], to);
        }
        epilogue_.finish(context, wide, channels_, pixel, 1);
      }
    });
  }

 private:
  size_t pixels_, channels_ = 0;
  std::vector<size_t> inputs_, widths_;
  Epilogue epilogue_;
};

}  // namespace

std::unique_ptr<Op> make_elementwise(Shape input_shape, size_t input, Epilogue epilogue) {
  return std::make_unique<Elementwise>(input_shape, input, std::move(epilogue));
}

std::unique_ptr<Op> make_flatten(Shape input_shape, size_t input, Epilogue epilogue) {
  return std::make_unique<Flatten>(input_shape, input, std::move(epilogue));
}

std::unique_ptr<Op> make_pad_channels(Shape input_shape, size_t input, size_t before, size_t after, Epilogue epilogue) {
  return std::make_unique<PadChannels>(input_shape, input, before, after, std::move(epilogue));
}

std::unique_ptr<Op> make_shuffle_channels(Shape input_shape, size_t input, size_t groups, Epilogue epilogue) {
  return std::make_unique<ShuffleChannels>(input_shape, input, groups, std::move(epilogue));
}

std::unique_ptr<Op> make_concat(const std::vector<Shape>& input_shapes, const std::vector<size_t>& inputs,
                                Epilogue epilogue) {
  return std::make_unique<Concat>(input_shapes, inputs, std::move(epilogue));
}

}  // namespace onebit
