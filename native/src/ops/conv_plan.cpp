// The geometry that all convolutions share.
#include "ops/conv_plan.h"

namespace onebit {
namespace {

size_t divide_up(size_t a, size_t b) { return (a + b - 1) / b; }

}  // namespace

Pair convolution_output(const Convolution& g, Shape input) {
  const auto size = [](size_t length, size_t kernel, size_t stride, size_t padding, size_t dilation) {
    const size_t reach = dilation * (kernel - 1) + 1, padded = length + 2 * padding;
    return padded < reach ? 0 : (padded - reach) / stride + 1;
  };
  return {size(input.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical, g.dilation.vertical),
          size(input.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal, g.dilation.horizontal)};
}

Pair rpc_output(const ReshapedConvolution& g, Shape input) {
  return {divide_up(input.height * g.upscale, g.block), divide_up(input.width * g.upscale, g.block)};
}

ConvPlan::ConvPlan(Shape shape, const Convolution& conv, size_t bytes, size_t shuffle)
    : input(shape),
      geometry(conv),
      output(convolution_output(conv, shape)),
      result(output),
      result_channels(conv.out_channels),
      padded_height(shape.height + 2 * conv.padding.vertical),
      padded_width(shape.width + 2 * conv.padding.horizontal),
      group_bytes(bytes),
      pixel_bytes(bytes * conv.groups) {
  find_runs();
  const size_t group_channels = conv.out_channels / conv.groups;
  for (size_t group = 0; group < conv.groups; ++group) {
    for (size_t c = 0; c < group_channels; c += kBlock) {
      const size_t row = group * group_channels + c;
      blocks.push_back({group, row, 0, 1, row, std::min(kBlock, group_channels - c)});
    }
  }
  collect_groups = conv.groups > 1 && (group_channels % kWordBits != 0 || shuffle > 1);
  for (size_t c = 0; c < conv.out_channels && shuffle > 1; ++c) {
    const size_t each = conv.out_channels / shuffle;
    shuffled.push_back(c % each * shuffle + c / each);
  }
}

ConvPlan::ConvPlan(Shape shape, const ReshapedConvolution& rpc, size_t bytes)
    : input(shape),
      upscale(rpc.upscale),
      roll(rpc.roll),
      output{divide_up(shape.height, rpc.block), divide_up(shape.width, rpc.block)},
      result(rpc_output(rpc, shape)),
      result_channels(rpc.out_channels / (rpc.upscale * rpc.upscale)),
      padded_height(output.vertical * rpc.block),
      padded_width(output.horizontal * rpc.block),
      group_bytes(bytes),
      pixel_bytes(bytes) {
  geometry.kernel = geometry.stride = {rpc.block, rpc.block};
  geometry.out_channels = rpc.out_channels;
  find_runs();
  // With few channels a block holds several positions; with many, a position is split into blocks like any channels.
  const size_t channels = result_channels, together = std::max<size_t>(1, kBlock / channels);
  for (size_t position = 0; position < positions(); position += together) {
    for (size_t c = 0; c < channels; c += kBlock) {
      blocks.push_back({0, position * channels + c, position, std::min(together, positions() - position), c,
                        std::min(kBlock, channels - c)});
    }
  }
}

void ConvPlan::find_runs() {
  taps_per_run = neighbors(geometry);
  for (size_t y = 0; y < geometry.kernel.vertical; ++y) {
    for (size_t x = 0; x < geometry.kernel.horizontal; x += taps_per_run) {
      const size_t row = y * geometry.dilation.vertical, column = x * geometry.dilation.horizontal;
      runs.push_back(static_cast<ptrdiff_t>((row * padded_width + column) * pixel_bytes));
    }
  }
}

std::vector<size_t> ConvPlan::panel_rows(size_t panel) const {
  std::vector<size_t> starts(1);
  for (const Block& block : blocks) starts.push_back(starts.back() + round_up(block.rows(), panel));
  return starts;
}

const std::vector<size_t>& shared_panel_rows(Store& store, const ConvPlan& plan, size_t panel) {
  return store.object(
      Key("panel rows", &plan, panel), [&] { return plan.panel_rows(panel); },
      [](const std::vector<size_t>& rows) { return rows.capacity() * sizeof rows[0]; });
}

void ConvPlan::fill_row(const uint8_t* map, const uint8_t* border, size_t bytes, size_t y, uint8_t* row) const {
  if (is_border(y)) {
    std::copy_n(border, padded_width * bytes, row);
    return;
  }
  const size_t left = geometry.padding.horizontal, right = padded_width - left - input.width;
  const size_t rolled = roll % input.width;  // pixels that reappear on the right
  const uint8_t* from = map + (y - geometry.padding.vertical + roll) % input.height * input.width * bytes;
  row = std::copy_n(border, left * bytes, row);
  row = std::copy_n(from + rolled * bytes, (input.width - rolled) * bytes, row);
  row = std::copy_n(from, rolled * bytes, row);
  std::copy_n(border, right * bytes, row);
}

ConvPlan::Pixels ConvPlan::locate(const uint8_t* prepared, size_t span, size_t from, size_t count,
                                  const uint8_t** first) const {
  const size_t per_row = spans_per_row(span);
  size_t y = from / per_row, x = from % per_row;
  const size_t begin = y * output.horizontal + x * span;
  const size_t row_bytes = geometry.stride.vertical * padded_width * pixel_bytes;
  const size_t span_bytes = span * geometry.stride.horizontal * pixel_bytes;
  size_t row = y * row_bytes;
  for (size_t i = 0; i < count; ++i) {
    first[i] = prepared + row + x * span_bytes;
    if (++x == per_row) {
      x = 0;
      ++y;
      row += row_bytes;
    }
  }
  return {begin, y * output.horizontal + x * span - begin};
}

ConvPlan::Segment ConvPlan::find_segment(Pixels pixels, size_t position) const {
  const size_t y = pixels.begin / output.horizontal, x = pixels.begin % output.horizontal;
  const size_t in_row = std::min(pixels.count, output.horizontal - x);
  size_t row = y * upscale + position / upscale, column = x * upscale + position % upscale;
  if (row >= result.vertical || column >= result.horizontal) return {in_row, 0, 0};
  row = (row + roll) % result.vertical;
  column = (column + roll) % result.horizontal;
  // Up to the end of the result's row, where columns are cropped or wrap around.
  const size_t fitting = divide_up(result.horizontal - column, upscale);
  return {0, std::min(in_row, fitting), row * result.horizontal + column};
}

}  // namespace onebit
