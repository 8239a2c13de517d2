// Real-valued convolution: rolls, pads and widens the input if it must, multiplies, hands the sums to the epilogue.
#include "ops/conv_plan.h"
#include "ops/row_conv2d.h"

namespace onebit {
namespace {

class Conv2d final : public RowOp {
 public:
  Conv2d(const Kernels& kernels, ConvPlan plan, ValueRef input, const std::vector<float>& weight, Epilogue epilogue)
      : kernel_(*kernels.float_conv),
        input_(input),
        group_channels_(plan.input.channels / plan.geometry.groups),
        plan_(std::move(plan)),
        epilogue_(std::move(epilogue)) {
    pack(weight);
    if (plan_.is_padded()) border_ = AlignedBytes(plan_.padded_width * plan_.pixel_bytes);
  }

  size_t scratch_bytes() const override { return is_prepared() ? plan_.prepared_bytes() : 0; }
  size_t worker_scratch_bytes() const override {
    return std::max(
        plan_.collect_groups ? plan_.tile_pixels(kernel_.pixels) * plan_.collected_stride() * sizeof(float) : 0,
        input_.half ? plan_.padded_width * plan_.pixel_bytes / 2 : 0);
  }
  const char* kernel() const override { return kernel_.name; }
  size_t macs() const override { return plan_.pixels() * plan_.taps() * group_channels_ * plan_.geometry.out_channels; }

  size_t rows() const override { return plan_.output.vertical; }
  const RowOp* by_rows() const override { return plan_.scatters() ? nullptr : this; }

  void prepare(const RunContext& context) const override {
    if (!is_prepared()) return;
    const size_t row_bytes = plan_.padded_width * plan_.pixel_bytes;
    context.team.for_ranges(plan_.padded_height, [&](size_t begin, size_t end, size_t worker) {
      for (size_t y = begin; y < end; ++y) {
        uint8_t* const row = context.scratch + y * row_bytes;
        uint8_t* const plain = input_.half ? context.worker_scratch[worker] : row;
        const size_t plain_bytes = input_.half ? row_bytes / 2 : row_bytes;
        plan_.fill_row(context.values[input_.index], border_.data(), plain_bytes / plan_.padded_width, y, plain);
        if (input_.half) {
          epilogue_.kernel().widen(reinterpret_cast<const Half*>(plain), plain_bytes / sizeof(Half),
                                   reinterpret_cast<float*>(row));
        }
      }
    });
  }

  void run_rows(const RunContext& context, size_t begin, size_t end) const override {
    const uint8_t* prepared = is_prepared() ? context.scratch : context.values[input_.index];
    const size_t run_floats = plan_.taps_per_run * group_channels_;
    plan_.for_each_tile<float>(
        context, begin, end, epilogue_, prepared, kernel_.pixels, 1,
        [&](size_t block, size_t, const uint8_t* const* pixels, size_t count, float* y) {
          kernel_.multiply({pixels, count, plan_.runs.data(), plan_.runs.size(), run_floats,
                            weights_.as<float>() + block_start_[block], plan_.blocks[block].rows(), y});
        },
        [&](const EpilogueTile& tile, const float* y, size_t stride) { epilogue_.kernel().floats(tile, y, stride); });
  }

 private:
  bool is_prepared() const { return plan_.is_prepared() || input_.half; }

  // Panels of consecutive channels, each with its weights in the order in which the kernel meets them.
  void pack(const std::vector<float>& weight) {
    const size_t depth = plan_.taps() * group_channels_;
    size_t floats = 0;
    for (const ConvPlan::Block& block : plan_.blocks) {
      block_start_.push_back(floats);
      floats += round_up(block.rows(), kernel_.panel) * depth;
    }
    weights_ = AlignedBytes(floats * sizeof(float));
    for (size_t b = 0; b < plan_.blocks.size(); ++b) {
      const float* rows = weight.data() + plan_.blocks[b].row * depth;
      fill_panels(weights_.as<float>() + block_start_[b], kernel_.panel, plan_.blocks[b].rows(), depth,
                  [&](size_t channel, size_t k) { return rows[channel * depth + k]; });
    }
  }

  const FloatConvKernel& kernel_;
  ValueRef input_;
  size_t group_channels_;
  ConvPlan plan_;
  Epilogue epilogue_;
  AlignedBytes weights_;
  std::vector<size_t> block_start_;
  AlignedBytes border_;  // a row of padding: zeros
};

}  // namespace

std::unique_ptr<Op> make_conv2d(const Kernels& kernels, Shape input_shape, ValueRef input, const Convolution& geometry,
                                const std::vector<float>& weight, Epilogue epilogue) {
  ConvPlan plan(input_shape, geometry, input_shape.channels / geometry.groups * sizeof(float));
  if (!input.half && fits_row_conv2d(plan)) {
    return make_row_conv2d(kernels, std::move(plan), input.index, weight, std::move(epilogue));
  }
  return std::make_unique<Conv2d>(kernels, std::move(plan), input, weight, std::move(epilogue));
}

std::unique_ptr<Op> make_rpc2d(const Kernels& kernels, Shape input_shape, ValueRef input,
                               const ReshapedConvolution& geometry, const std::vector<float>& weight,
                               Epilogue epilogue) {
  const size_t bytes = input_shape.channels * sizeof(float);
  return std::make_unique<Conv2d>(kernels, ConvPlan(input_shape, geometry, bytes), input, weight, std::move(epilogue));
}

}  // namespace onebit
