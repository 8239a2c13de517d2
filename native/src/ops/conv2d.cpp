// Real-valued convolution: pads the input if it must, multiplies, hands the sums to the epilogue.
#include <cstring>

#include "ops/conv_plan.h"

namespace onebit {
namespace {

class Conv2d final : public Op {
 public:
  Conv2d(const Kernels& kernels, Shape shape, size_t input, const Convolution& geometry,
         const std::vector<float>& weight, Epilogue epilogue)
      : kernel_(*kernels.float_conv),
        input_(input),
        group_channels_(shape.channels / geometry.groups),
        plan_(shape, geometry, group_channels_ * sizeof(float)),
        epilogue_(std::move(epilogue)) {
    pack(weight);
  }

  size_t scratch_bytes() const override { return plan_.is_padded() ? plan_.prepared_bytes() : 0; }
  size_t worker_scratch_bytes() const override {
    return plan_.collect_groups ? kernel_.pixels * plan_.collected_stride() * sizeof(float) : 0;
  }
  const char* kernel() const override { return kernel_.name; }
  size_t macs() const override { return plan_.pixels() * plan_.taps() * group_channels_ * plan_.geometry.out_channels; }

  void run(const RunContext& context) const override {
    if (plan_.is_padded()) prepare(context);
    const uint8_t* prepared = plan_.is_padded() ? context.scratch : context.values[input_];
    const size_t run_floats = plan_.taps_per_run * group_channels_;
    plan_.for_each_tile<float>(
        context, epilogue_, prepared, kernel_.pixels, 1,
        [&](size_t block, const uint8_t* const* pixels, size_t count, float* y) {
          kernel_.multiply({pixels, count, plan_.runs.data(), plan_.runs.size(), run_floats,
                            weights_.as<float>() + block_start_[block], plan_.blocks[block].channels, y});
        },
        [&](const EpilogueTile& tile, const float* y, size_t stride) { epilogue_.kernel().floats(tile, y, stride); });
  }

 private:
  // Panels of consecutive channels, each with its weights in the order in which the kernel meets them.
  void pack(const std::vector<float>& weight) {
    const size_t depth = plan_.taps() * group_channels_;
    size_t floats = 0;
    for (const ConvPlan::Block& block : plan_.blocks) {
      block_start_.push_back(floats);
      floats += round_up(block.channels, kernel_.panel) * depth;
    }
    weights_ = AlignedBytes(floats * sizeof(float));
    for (size_t b = 0; b < plan_.blocks.size(); ++b) {
      for (size_t c = 0; c < plan_.blocks[b].channels; ++c) {
        const float* row = weight.data() + (plan_.blocks[b].channel + c) * depth;
        float* panel = weights_.as<float>() + block_start_[b] + c / kernel_.panel * kernel_.panel * depth;
        for (size_t k = 0; k < depth; ++k) panel[k * kernel_.panel + c % kernel_.panel] = row[k];
      }
    }
  }

  void prepare(const RunContext& context) const {
    const Pair padding = plan_.geometry.padding;
    const size_t row_bytes = plan_.padded_width * plan_.pixel_bytes, side = padding.horizontal * plan_.pixel_bytes;
    context.pool.for_ranges(plan_.padded_height, [&](size_t begin, size_t end, size_t) {
      for (size_t y = begin; y < end; ++y) {
        uint8_t* out = context.scratch + y * row_bytes;
        if (y < padding.vertical || y >= padding.vertical + plan_.input.height) {
          std::memset(out, 0, row_bytes);
          continue;
        }
        const size_t inner = plan_.input.width * plan_.pixel_bytes;
        std::memset(out, 0, side);
        std::memcpy(out + side, context.values[input_] + (y - padding.vertical) * inner, inner);
        std::memset(out + side + inner, 0, side);
      }
    });
  }

  const FloatConvKernel& kernel_;
  size_t input_;
  size_t group_channels_;
  ConvPlan plan_;
  Epilogue epilogue_;
  AlignedBytes weights_;
  std::vector<size_t> block_start_;
};

}  // namespace

std::unique_ptr<Op> make_conv2d(const Kernels& kernels, Shape input_shape, size_t input, const Convolution& geometry,
                                const std::vector<float>& weight, Epilogue epilogue) {
  return std::make_unique<Conv2d>(kernels, input_shape, input, geometry, weight, std::move(epilogue));
}

}  // namespace onebit
