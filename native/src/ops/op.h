// What the engine knows of an op: how much scratch it wants and how to run it on one image.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dispatch/kernels.h"
#include "engine/aligned.h"
#include "engine/thread_pool.h"
#include "onebit/engine.h"

namespace onebit {

struct RunContext {
  uint8_t* const* values;          // address of every value of the image
  uint8_t* scratch;                // shared by the threads of one op
  uint8_t* const* worker_scratch;  // one for each thread
  ThreadPool& pool;
};

class Op {
 public:
  virtual ~Op() = default;
  virtual size_t scratch_bytes() const { return 0; }
  virtual size_t worker_scratch_bytes() const { return 0; }
  virtual const char* kernel() const = 0;
  virtual size_t macs() const { return 0; }
  virtual void run(const RunContext& context) const = 0;
};

// The steps behind an op, as kernels see them, with the tables they point to.
class Epilogue {
 public:
  // `values` gives the index of each step's value; tables were checked by the builder.
  Epilogue(const EpilogueKernel& kernel, const std::vector<Step>& steps, const std::vector<size_t>& values,
           size_t channels);

  EpilogueTile tile(const RunContext& context) const {
    return {steps_.data(), steps_.size(), context.values, 0, 0, 0, 0, channels_};
  }
  const EpilogueKernel& kernel() const { return *kernel_; }

  // Finishes `count` pixels from `pixel` on, all channels, from floats [count][stride].
  void finish(const RunContext& context, const float* y, size_t stride, size_t pixel, size_t count) const;

 private:
  template <class T>
  const T* keep(const std::vector<T>& table, size_t length, T fill);

  const EpilogueKernel* kernel_;
  size_t channels_;
  std::vector<StepPlan> steps_;
  std::vector<AlignedBytes> tables_;
};

Pair convolution_output(const Convolution& geometry, Shape input);
Pair pooling_output(const Pooling& geometry, Shape input);

// Each takes arguments that the builder has checked; `input` and `output` index the engine's values.
std::unique_ptr<Op> make_binary_conv2d(const Kernels&, Shape input_shape, size_t input, const Convolution&,
                                       int pad_value, const std::vector<uint32_t>& weight, Epilogue);
std::unique_ptr<Op> make_conv2d(const Kernels&, Shape input_shape, size_t input, const Convolution&,
                                const std::vector<float>& weight, Epilogue);
std::unique_ptr<Op> make_max_pool2d(Shape input_shape, size_t input, const Pooling&, Epilogue);
std::unique_ptr<Op> make_avg_pool2d(Shape input_shape, size_t input, const Pooling&, bool count_include_pad, Epilogue);
std::unique_ptr<Op> make_bit_max_pool2d(Shape input_shape, size_t input, const Pooling&,
                                        const std::vector<uint32_t>& flip, size_t output);
std::unique_ptr<Op> make_elementwise(Shape input_shape, size_t input, Epilogue);
std::unique_ptr<Op> make_flatten(Shape input_shape, size_t input, Epilogue);
std::unique_ptr<Op> make_pad_channels(Shape input_shape, size_t input, size_t before, size_t after, Epilogue);

}  // namespace onebit
