// The geometry that both convolutions share.
#include "ops/conv_plan.h"

namespace onebit {

Pair convolution_output(const Convolution& g, Shape input) {
  const auto size = [](size_t length, size_t kernel, size_t stride, size_t padding, size_t dilation) {
    const size_t reach = dilation * (kernel - 1) + 1, padded = length + 2 * padding;
    return padded < reach ? 0 : (padded - reach) / stride + 1;
  };
  return {size(input.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical, g.dilation.vertical),
          size(input.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal, g.dilation.horizontal)};
}

ConvPlan::ConvPlan(Shape shape, const Convolution& conv, size_t bytes)
    : input(shape),
      geometry(conv),
      output(convolution_output(conv, shape)),
      padded_height(shape.height + 2 * conv.padding.vertical),
      padded_width(shape.width + 2 * conv.padding.horizontal),
      group_bytes(bytes),
      pixel_bytes(bytes * conv.groups) {
  // With one group and neighbouring taps a whole row of the kernel is contiguous.
  const bool whole_rows = conv.groups == 1 && conv.dilation.horizontal == 1;
  taps_per_run = whole_rows ? conv.kernel.horizontal : 1;
  for (size_t y = 0; y < conv.kernel.vertical; ++y) {
    for (size_t x = 0; x < conv.kernel.horizontal; x += taps_per_run) {
      const size_t row = y * conv.dilation.vertical, column = x * conv.dilation.horizontal;
      runs.push_back(static_cast<ptrdiff_t>((row * padded_width + column) * pixel_bytes));
    }
  }
  const size_t group_channels = conv.out_channels / conv.groups;
  for (size_t group = 0; group < conv.groups; ++group) {
    for (size_t c = 0; c < group_channels; c += kBlock) {
      blocks.push_back({group, group * group_channels + c, std::min(kBlock, group_channels - c)});
    }
  }
  collect_groups = conv.groups > 1 && group_channels % kWordBits != 0;
}

ConvPlan::Pixels ConvPlan::locate(const uint8_t* prepared, size_t span, size_t from, size_t count,
                                  const uint8_t** first) const {
  const size_t per_row = spans_per_row(span);
  size_t y = from / per_row, x = from % per_row;
  const size_t begin = y * output.horizontal + x * span;
  for (size_t i = 0; i < count; ++i) {
    const size_t row = y * geometry.stride.vertical, column = x * span * geometry.stride.horizontal;
    first[i] = prepared + (row * padded_width + column) * pixel_bytes;
    if (++x == per_row) {
      x = 0;
      ++y;
    }
  }
  return {begin, y * output.horizontal + x * span - begin};
}

}  // namespace onebit
