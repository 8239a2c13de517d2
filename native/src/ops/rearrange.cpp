// Ops that compute nothing themselves: elementwise, flatten, pad_channels, shuffle_channels, concat, gather2d,
// depth_to_space, space_to_depth.
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

// Rows, columns and channels of a map in another order, some of them not at all or several times.
class Gather final : public Op {
 public:
  // Empty tables stand for all rows, columns or channels in order.
  Gather(Store& store, Shape shape, Shape result, ValueRef input, const Table<int32_t>& rows,
         const Table<int32_t>& columns, const Table<int32_t>& channels, float fill, Epilogue epilogue)
      : shape_(shape), result_(result), input_(input), fill_(fill), epilogue_(std::move(epilogue)) {
    const auto kept = [&](const Table<int32_t>& table, size_t count) {
      return store.block<int32_t>(Key("gather", table, count), count, [=](int32_t* copy, Poll&) {
        for (size_t i = 0; i < count; ++i) copy[i] = table.empty() ? static_cast<int32_t>(i) : table[i];
      });
    };
    rows_ = kept(rows, result.height);
    columns_ = kept(columns, result.width);
    if (!channels.empty()) channels_ = kept(channels, result.channels);
  }

  size_t worker_scratch_bytes() const override {
    return (result_.channels + (input_.half ? kTogether * shape_.channels : 0)) * sizeof(float);
  }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    context.team.for_ranges(result_.height * result_.width, [&](size_t begin, size_t end, size_t worker) {
      auto* pixel = reinterpret_cast<float*>(context.worker_scratch[worker]);
      float* halves = pixel + result_.channels;
      for (size_t done = begin; done < end;) {
        const size_t column = done % result_.width;
        const int32_t from_row = rows_[done / result_.width], from_column = columns_[column];
        if (from_row < 0 || from_column < 0) {
          std::fill_n(pixel, result_.channels, fill_);
          epilogue_.finish(context, pixel, 0, done++, 1);
          continue;
        }
        // As many as lie side by side in both maps.
        size_t count = 1;
        const size_t most = std::min({kTogether, end - done, result_.width - column});
        while (count < most && columns_[column + count] == from_column + static_cast<int32_t>(count)) ++count;
        const size_t first = static_cast<size_t>(from_row) * shape_.width + static_cast<size_t>(from_column);
        const float* map = epilogue_.floats(context, input_, first * shape_.channels, count * shape_.channels, halves);
        if (channels_ == nullptr) {
          epilogue_.finish(context, map, shape_.channels, done, count);
        } else {
          for (size_t i = 0; i < count; ++i, map += shape_.channels) {
            for (size_t c = 0; c < result_.channels; ++c) pixel[c] = channels_[c] < 0 ? fill_ : map[channels_[c]];
            epilogue_.finish(context, pixel, result_.channels, done + i, 1);
          }
        }
        done += count;
      }
    });
  }

 private:
  static constexpr size_t kTogether = 16;  // pixels

  Shape shape_, result_;
  ValueRef input_;
  const int32_t *rows_, *columns_, *channels_ = nullptr;
  float fill_;
  Epilogue epilogue_;
};

// Blocks of pixels that become channels of one pixel, or the inverse.
class Blocks final : public Op {
 public:
  Blocks(Shape shape, Shape result, ValueRef input, size_t block, bool into_space, Epilogue epilogue)
      : shape_(shape),
        result_(result),
        input_(input),
        block_(block),
        into_space_(into_space),
        epilogue_(std::move(epilogue)) {}

  size_t worker_scratch_bytes() const override {
    return (result_.channels + (input_.half ? shape_.channels : 0)) * sizeof(float);
  }
  const char* kernel() const override { return epilogue_.kernel().name; }

  void run(const RunContext& context) const override {
    context.team.for_ranges(result_.height * result_.width, [&](size_t begin, size_t end, size_t worker) {
      auto* pixel = reinterpret_cast<float*>(context.worker_scratch[worker]);
      float* halves = pixel + result_.channels;
      const auto at = [&](size_t row, size_t column) {
        return epilogue_.floats(context, input_, (row * shape_.width + column) * shape_.channels, shape_.channels,
                                halves);
      };
      const size_t area = block_ * block_;
      for (size_t p = begin; p < end; ++p) {
        const size_t row = p / result_.width, column = p % result_.width;
        if (into_space_) {
          const float* from = at(row / block_, column / block_) + row % block_ * block_ + column % block_;
          for (size_t c = 0; c < result_.channels; ++c) pixel[c] = from[c * area];
        } else {
          for (size_t i = 0; i < area; ++i) {
            const float* from = at(row * block_ + i / block_, column * block_ + i % block_);
            for (size_t c = 0; c < shape_.channels; ++c) pixel[c * area + i] = from[c];
          }
        }
        epilogue_.finish(context, pixel, result_.channels, p, 1);
      }
    });
  }

 private:
  Shape shape_, result_;
  ValueRef input_;
  size_t block_;
  bool into_space_;
  Epilogue epilogue_;
};

}  // namespace

std::unique_ptr<Op> make_gather2d(Store& store, Shape input_shape, Shape result, ValueRef input,
                                  const Table<int32_t>& rows, const Table<int32_t>& columns,
                                  const Table<int32_t>& channels, float fill, Epilogue epilogue) {
  return std::make_unique<Gather>(store, input_shape, result, input, rows, columns, channels, fill,
                                  std::move(epilogue));
}

std::unique_ptr<Op> make_depth_to_space(Shape shape, ValueRef input, size_t block, Epilogue epilogue) {
  const Shape result{shape.height * block, shape.width * block, shape.channels / (block * block)};
  return std::make_unique<Blocks>(shape, result, input, block, true, std::move(epilogue));
}

std::unique_ptr<Op> make_space_to_depth(Shape shape, ValueRef input, size_t block, Epilogue epilogue) {
  const Shape result{shape.height / block, shape.width / block, shape.channels * block * block};
  return std::make_unique<Blocks>(shape, result, input, block, false, std::move(epilogue));
}

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
