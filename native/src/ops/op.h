// The interface of ops: how much scratch they need and how they run on one image.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "dispatch/kernels.h"
#include "onebit/engine.h"
#include "ops/store.h"

namespace onebit {

struct RunContext {
  uint8_t* const* values;          // address of each value
  PartialValue part;               // the value of which only some rows are in memory
  uint8_t* scratch;                // shared by the threads of an op
  uint8_t* const* worker_scratch;  // of each thread
  Team team;

  uint8_t* address(size_t value, size_t pixel, size_t pixel_bytes) const {
    return value == part.value ? part.data + (pixel - part.first_pixel) * pixel_bytes
                               : values[value] + pixel * pixel_bytes;
  }
};

// A value, and whether it holds float16.
struct ValueRef {
  size_t index = 0;
  bool half = false;
};

class RowOp;

class Op {
 public:
  virtual ~Op() = default;
  virtual size_t scratch_bytes() const { return 0; }
  virtual size_t worker_scratch_bytes() const { return 0; }
  virtual const char* kernel() const = 0;
  virtual size_t macs() const { return 0; }
  virtual void run(const RunContext& context) const = 0;
  virtual const RowOp* by_rows() const { return nullptr; }  // itself, if it is one
};

// An op that can compute some rows of its result, so that another op reads them while they are in cache.
class RowOp : public Op {
 public:
  static constexpr size_t kStripe = 8;  // rows that are computed at a time

  virtual size_t rows() const = 0;
  // Prepares what all rows need; called first for each image.
  virtual void prepare(const RunContext&) const {}
  virtual void run_rows(const RunContext& context, size_t begin, size_t end) const = 0;

  void run(const RunContext& context) const final {
    prepare(context);
    run_rows(context, 0, rows());
  }
  const RowOp* by_rows() const override { return this; }
};

// A map of floats and the geometry of its pool.
struct PooledMap {
  ValueRef value;
  Shape shape;
  Pooling geometry;

  size_t pixel_bytes() const { return shape.channels * (value.half ? sizeof(Half) : sizeof(float)); }
};

// A copy of a table, padded with zeros as far as kernels may read. It has `count` entries for each of `positions`,
// which in the copy start at multiples of `stride`.
template <class T>
const T* padded_table(Store& store, const Table<T>& table, size_t count, size_t stride, size_t positions = 1) {
  const size_t entries = padded_channels(positions * stride);
  return store.block<T>(Key("table", table, count, stride, positions), entries, [=](T* copy, Poll&) {
    for (size_t p = 0; p * count < table.size(); ++p) std::copy_n(table.begin() + p * count, count, copy + p * stride);
  });
}

// The steps that follow an op, in the form that kernels read.
class Epilogue {
 public:
  // `values`: of each step. The builder has checked the tables, which hold the entries of all channels for each of
  // `positions`.
  Epilogue(const EpilogueKernel& kernel, Store& store, const std::vector<Step>& steps,
           const std::vector<ValueRef>& values, size_t channels, size_t positions = 1);

  EpilogueTile tile(const RunContext& context) const {
    return {steps_.data(), steps_.size(), context.values, context.part, 0, 1, 0, 0, 0, 0, channels_};
  }
  const EpilogueKernel& kernel() const { return *kernel_; }

  // Applies the steps to `count` pixels from `pixel` on, all channels, given as floats [count][stride].
  void finish(const RunContext& context, const float* y, size_t stride, size_t pixel, size_t count) const {
    finish(context, y, stride, pixel, count, 0, channels_);
  }
  // The same for `channels` channels from `channel` on, a multiple of kWordBits; y starts with these.
  void finish(const RunContext& context, const float* y, size_t stride, size_t pixel, size_t count, size_t channel,
              size_t channels) const {
    finish_blocks(context, kernel_->floats, y, stride, pixel, count, channel, channels);
  }
  // The same with y read from the pixels of a map with `channels` channels.
  void finish(const RunContext& context, ValueRef map, size_t pixel, size_t count, size_t channel,
              size_t channels) const;
  // Pools, then applies the steps to `count` pixels from `pixel` on, all channels.
  void finish(const RunContext& context, const PoolWindows& windows, size_t pixel, size_t count) const;

  // `count` floats of a value from number `first` on. Halves are converted into `buffer`.
  const float* floats(const RunContext& context, ValueRef value, size_t first, size_t count, float* buffer) const;

 private:
  template <class T>
  void finish_blocks(const RunContext& context, void (*kernel)(const EpilogueTile&, const T*, size_t), const T* y,
                     size_t stride, size_t pixel, size_t count, size_t channel, size_t channels) const {
    EpilogueTile part = tile(context);
    part.pixel = pixel;
    part.pixel_count = count;
    for (size_t done = 0; done < channels; done += kBlock) {
      part.channel = part.table = channel + done;
      part.channels = std::min(kBlock, channels - done);
      kernel(part, y + done, stride);
    }
  }

  const EpilogueKernel* kernel_;
  size_t channels_;
  std::vector<StepPlan> steps_;
};

Pair convolution_output(const Convolution& geometry, Shape input);
Pair rpc_output(const ReshapedConvolution& geometry, Shape input);
Pair pooling_output(const Pooling& geometry, Shape input);

// Real weights [row][channel], with a row for each tap of each output channel: floats, or bits for -1 and +1.
struct RealWeights {
  Table<float> floats;
  Table<uint32_t> bits;

  // Calls use(at), where at(row, channel) returns a weight; `channels`: of each row.
  template <class Use>
  void visit(size_t channels, Use use) const {
    if (bits.empty()) return use([=, data = floats.data()](size_t row, size_t c) { return data[row * channels + c]; });
    use([words = words_for(channels), data = bits.data()](size_t row, size_t c) {
      return data[row * words + c / kWordBits] >> c % kWordBits & 1 ? -1.0f : 1.0f;
    });
  }
};

// What ops are constructed with. The store must outlive them.
struct BuildContext {
  const Kernels& kernels;
  Store& store;
};

// The ops. The builder has checked their arguments; `input` and `output` are indices of values.
std::unique_ptr<Op> make_binary_conv2d(BuildContext, Shape input_shape, size_t input, const Convolution&, int pad_value,
                                       const Table<uint32_t>& weight, size_t shuffle, Epilogue);
std::unique_ptr<Op> make_binary_rpc2d(BuildContext, Shape input_shape, size_t input, const ReshapedConvolution&,
                                      int pad_value, const Table<uint32_t>& weight, Epilogue);
std::unique_ptr<Op> make_conv2d(BuildContext, Shape input_shape, ValueRef input, const Convolution&, const RealWeights&,
                                Epilogue);
std::unique_ptr<Op> make_int8_conv2d(BuildContext, Shape input_shape, size_t input, const Convolution&,
                                     const Table<int8_t>& weight, const Table<int32_t>& zero, const Table<float>& scale,
                                     Epilogue);
std::unique_ptr<Op> make_rpc2d(BuildContext, Shape input_shape, ValueRef input, const ReshapedConvolution&,
                               const RealWeights&, Epilogue);
std::unique_ptr<Op> make_max_pool2d(Store&, const PooledMap&, Epilogue);
std::unique_ptr<Op> make_avg_pool2d(Store&, const PooledMap&, bool count_include_pad, Epilogue);
// Whether a pool and the op that computes its map are likely to be faster as one op.
bool fits_pooled(const PooledMap&, size_t threads);
// One op for both: an op by rows that writes nothing but the map, and its pool. The map then needs no memory.
std::unique_ptr<Op> make_pooled(std::unique_ptr<Op> source, std::unique_ptr<Op> pool, const PooledMap&);
std::unique_ptr<Op> make_nothing();  // for a node that is computed by another node's op
std::unique_ptr<Op> make_bit_max_pool2d(Store&, Shape input_shape, size_t input, const Pooling&,
                                        const Table<uint32_t>& flip, size_t output);
std::unique_ptr<Op> make_elementwise(Shape input_shape, ValueRef input, Epilogue);
std::unique_ptr<Op> make_flatten(Shape input_shape, ValueRef input, Epilogue);
std::unique_ptr<Op> make_pad_channels(Store&, Shape input_shape, ValueRef input, size_t before, size_t after, Epilogue);
std::unique_ptr<Op> make_gather2d(Store&, Shape input_shape, Shape result, ValueRef input, const Table<int32_t>& rows,
                                  const Table<int32_t>& columns, const Table<int32_t>& channels, float fill, Epilogue);
std::unique_ptr<Op> make_depth_to_space(Shape input_shape, ValueRef input, size_t block, Epilogue);
std::unique_ptr<Op> make_space_to_depth(Shape input_shape, ValueRef input, size_t block, Epilogue);
std::unique_ptr<Op> make_shuffle_channels(Shape input_shape, ValueRef input, size_t groups, Epilogue);
std::unique_ptr<Op> make_concat(Store&, const std::vector<Shape>& input_shapes, const std::vector<ValueRef>& inputs,
                                Epilogue);

}  // namespace onebit
