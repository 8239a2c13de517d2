// Real-valued convolution: prepares the input where necessary (roll, padding, float16), multiplies, passes the sums to
// the epilogue.
#include "ops/conv_plan.h"
#include "ops/row_conv2d.h"

namespace onebit {
namespace {

class Conv2d final : public RowOp {
 public:
  Conv2d(BuildContext build, const ConvPlan& plan, ValueRef input, const RealWeights& weights, Epilogue epilogue)
      : kernel_(*build.kernels.float_conv),
        input_(input),
        group_channels_(plan.input.channels / plan.geometry.groups),
        depth_(plan.taps() * group_channels_),
        plan_(plan),
        epilogue_(std::move(epilogue)),
        panel_rows_(shared_panel_rows(build.store, plan, kernel_.panel)),
        weights_(pack(build.store, weights)),
        border_(plan.is_padded() ? build.store.zeros<uint8_t>(plan.padded_width * plan.pixel_bytes) : nullptr) {}

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
        plan_.fill_row(context.values[input_.index], border_, plain_bytes / plan_.padded_width, y, plain);
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
                            weights_ + panel_rows_[block] * depth_, plan_.blocks[block].rows(), y});
        },
        [&](const EpilogueTile& tile, const float* y, size_t stride) { epilogue_.kernel().floats(tile, y, stride); });
  }

 private:
  bool is_prepared() const { return plan_.is_prepared() || input_.half; }

  // Panels of consecutive channels, their weights in the order in which the kernel reads them.
  const float* pack(Store& store, const RealWeights& weights) const {
    return store.block<float>(
        Key("float panels", weights.floats, weights.bits, plan_.geometry.groups, plan_.geometry.out_channels,
            plan_.upscale, plan_.taps(), group_channels_, kernel_.panel),
        panel_rows_.back() * depth_,
        [weights, &plan = plan_, &panel_rows = panel_rows_, panel = kernel_.panel, depth = depth_,
         channels = group_channels_](float* out, Poll& poll) {
          weights.visit(channels, [&](auto at) {
            for (size_t b = 0; b < plan.blocks.size(); ++b) {
              const size_t first = plan.blocks[b].row * plan.taps();
              fill_panels(out + panel_rows[b] * depth, panel, plan.blocks[b].rows(), depth, [&](size_t row, size_t k) {
                return at(first + row * plan.taps() + k / channels, k % channels);
              });
              poll();
            }
          });
        });
  }

  const FloatConvKernel& kernel_;
  ValueRef input_;
  size_t group_channels_, depth_;
  const ConvPlan& plan_;
  Epilogue epilogue_;
  const std::vector<size_t>& panel_rows_;
  const float* weights_;
  const uint8_t* border_;  // a row of padding: zeros
};

}  // namespace

std::unique_ptr<Op> make_conv2d(BuildContext build, Shape input_shape, ValueRef input, const Convolution& geometry,
                                const RealWeights& weights, Epilogue epilogue) {
  const size_t bytes = input_shape.channels / geometry.groups * sizeof(float);
  const ConvPlan& plan = shared_plan(build.store, input_shape, geometry, bytes);
  if (!input.half && fits_row_conv2d(plan)) {
    return make_row_conv2d(build, plan, input.index, weights, std::move(epilogue));
  }
  return std::make_unique<Conv2d>(build, plan, input, weights, std::move(epilogue));
}

std::unique_ptr<Op> make_rpc2d(BuildContext build, Shape input_shape, ValueRef input,
                               const ReshapedConvolution& geometry, const RealWeights& weights, Epilogue epilogue) {
  const ConvPlan& plan = shared_plan(build.store, input_shape, geometry, input_shape.channels * sizeof(float));
  return std::make_unique<Conv2d>(build, plan, input, weights, std::move(epilogue));
}

}  // namespace onebit
