// The geometry of convolutions: the addresses of taps, the places of results, and the order of tiles.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "ops/op.h"

namespace onebit {

// A convolution reads a *prepared* map: the rolled and padded input, `pixel_bytes` per pixel, `group_bytes` per group.
// Taps that are adjacent in memory form runs.
//
// A reshaped convolution has the block as its kernel and stride. Its output channels are grouped by *position*: for
// each pixel of the output, the result has upscale x upscale pixels, one for each position.
struct ConvPlan {
  // `shuffle`: of the result's channels; above 1 only with several groups.
  ConvPlan(Shape input, const Convolution& geometry, size_t group_bytes, size_t shuffle = 1);
  ConvPlan(Shape input, const ReshapedConvolution& geometry, size_t pixel_bytes);

  // At most kBlock output channels of one group, whose weights are packed together: `channels` channels of each of
  // `positions` positions. A block has several positions only if it has all of their channels.
  struct Block {
    size_t group, row;
    size_t position, positions, channel, channels;

    size_t rows() const { return positions * channels; }
  };

  Shape input;
  Convolution geometry;
  size_t upscale = 1, roll = 0;
  Pair output, result;  // the result is the output with its positions as pixels, cropped
  size_t result_channels;
  size_t padded_height, padded_width;
  size_t group_bytes, pixel_bytes;
  std::vector<ptrdiff_t> runs;  // byte offset of each run from a pixel's first tap
  size_t taps_per_run;
  std::vector<Block> blocks;
  // Whether the sums of all channels are collected before the epilogue runs: where several groups share a word of bits,
  // or channels are shuffled across groups. Otherwise the epilogue runs block by block.
  bool collect_groups = false;
  std::vector<size_t> shuffled;  // the result's channel for each output channel; empty: the same

  // Taps of a run: with one group and no dilation, a row of the kernel is contiguous in memory.
  static size_t neighbors(const Convolution& geometry) {
    return geometry.groups == 1 && geometry.dilation.horizontal == 1 ? geometry.kernel.horizontal : 1;
  }

  size_t pixels() const { return output.vertical * output.horizontal; }
  size_t taps() const { return geometry.kernel.vertical * geometry.kernel.horizontal; }
  size_t positions() const { return upscale * upscale; }
  // Entries of a table with all channels of all positions, without padding at its end.
  size_t table_entries() const { return positions() * table_stride(result_channels); }
  size_t result_channel(size_t channel) const { return shuffled.empty() ? channel : shuffled[channel]; }
  size_t prepared_bytes() const { return padded_height * padded_width * pixel_bytes; }
  bool is_padded() const { return padded_height > input.height || padded_width > input.width; }
  bool is_prepared() const { return is_padded() || roll > 0; }
  size_t collected_stride() const { return padded_channels(geometry.out_channels); }

  // Writes row y of the prepared map, with pixels of `bytes` bytes; `border` is a row of padding.
  void fill_row(const uint8_t* map, const uint8_t* border, size_t bytes, size_t y, uint8_t* row) const;
  bool is_border(size_t y) const {
    return y < geometry.padding.vertical || y >= geometry.padding.vertical + input.height;
  }

  // A span is `span` neighbors in a row of the output; the last span of a row may be shorter.
  struct Pixels {
    size_t begin, count;
  };
  // Finds the first tap in group 0 of each of `count` spans from `from` on; returns the pixels that they cover.
  Pixels locate(const uint8_t* prepared, size_t span, size_t from, size_t count, const uint8_t** first) const;
  size_t spans_per_row(size_t span) const { return (output.horizontal + span - 1) / span; }
  size_t first_pixel(size_t span, size_t index) const {
    return index / spans_per_row(span) * output.horizontal + index % spans_per_row(span) * span;
  }
  // Neighbors in a row of the output, at one position: the place of the first in the result, where the others follow
  // `upscale` pixels apart. The `skipped` pixels before them are cropped from the result.
  struct Segment {
    size_t skipped, count, place;
  };
  // The longest segment at the start of `pixels`; its count is 0 where the result has none of them.
  Segment find_segment(Pixels pixels, size_t position) const;
  bool scatters() const { return upscale > 1 || roll > 0; }

  // Pixels of a tile for a kernel that computes `kernel_pixels` at a time.
  static size_t tile_pixels(size_t kernel_pixels) { return kMaxPixels / kernel_pixels * kernel_pixels; }

  // The memory of the plan.
  size_t bytes() const {
    return sizeof *this + runs.capacity() * sizeof runs[0] + blocks.capacity() * sizeof blocks[0] +
           shuffled.capacity() * sizeof shuffled[0];
  }

  // The first row of each block where blocks are packed in panels of `panel` channels, and at the end the number of
  // rows.
  std::vector<size_t> panel_rows(size_t panel) const;

  // Computes all tiles of rows [first_row, last_row) of the output, distributed over the team. For each tile it calls
  // compute(block index, first span, addresses, spans, sums), sums being [spans * span][kBlock], until the tile is
  // full, then finish(tile, sums, stride) with the sums of all channels of `tile`. T is the type of a sum. A kernel
  // computes `kernel_pixels` pixels at a time, `span` from each address. Which pixels are computed together does not
  // depend on the rows, because rounding may depend on it; pixels of other rows that this includes are discarded.
  template <class T, class Compute, class Finish>
  void for_each_tile(const RunContext& context, size_t first_row, size_t last_row, const Epilogue& epilogue,
                     const uint8_t* prepared, size_t kernel_pixels, size_t span, Compute compute, Finish finish) const {
    const size_t tile_spans = tile_pixels(kernel_pixels) / span, kernel_spans = kernel_pixels / span;
    const size_t first_span = first_row * spans_per_row(span) / kernel_spans * kernel_spans;
    const size_t last_span =
        std::min(round_up(last_row * spans_per_row(span), kernel_spans), output.vertical * spans_per_row(span));
    const size_t tiles = (last_span - first_span + tile_spans - 1) / tile_spans;
    const auto one = [&](size_t tile, size_t first_block, size_t last_block, T* sums, T* collected) {
      const uint8_t *first[kMaxPixels], *group_first[kMaxPixels];
      const size_t from = first_span + tile * tile_spans, count = std::min(tile_spans, last_span - from);
      const Pixels pixels = locate(prepared, span, from, count, first);
      EpilogueTile part = epilogue.tile(context);
      part.pixel = std::max(pixels.begin, first_row * output.horizontal);
      part.pixel_count = std::min(pixels.begin + pixels.count, last_row * output.horizontal) - part.pixel;
      const size_t skipped = part.pixel - pixels.begin;
      for (size_t b = first_block; b < last_block; ++b) {
        const Block& block = blocks[b];
        for (size_t s = 0; s < count; ++s) group_first[s] = first[s] + block.group * group_bytes;
        for (size_t s = 0; s < count; s += kernel_spans) {
          compute(b, from + s, group_first + s, std::min(kernel_spans, count - s), sums + s * span * kBlock);
        }
        if (pixels.count < count * span) close_gaps(span, from, count, sums);
        if (collected) {
          collect(block, pixels.count, sums, collected);
          continue;
        }
        part.channel = part.table = block.channel;
        part.channels = block.channels;
        if (scatters()) {
          finish_positions(block, pixels, part, sums, finish);
        } else {
          finish(part, sums + skipped * kBlock, kBlock);
        }
      }
      if (!collected) return;
      for (part.channel = 0; part.channel < geometry.out_channels; part.channel += kBlock) {
        part.table = part.channel;
        part.channels = std::min(kBlock, geometry.out_channels - part.channel);
        finish(part, collected + skipped * collected_stride() + part.channel, collected_stride());
      }
    };
    // Missing channels are zero or finite; whole blocks are read from any position on.
    constexpr size_t kSums = kMaxPixels * kBlock + kBlock;
    if (collect_groups) {
      context.team.for_ranges(tiles, [&](size_t begin, size_t end, size_t worker) {
        T* collected = reinterpret_cast<T*>(context.worker_scratch[worker]);
        alignas(64) T sums[kSums] = {};
        for (size_t tile = begin; tile < end; ++tile) one(tile, 0, blocks.size(), sums, collected);
      });
    } else {  // block by block: the weights of a block stay in cache for many pixels
      context.team.for_ranges(tiles * blocks.size(), [&](size_t begin, size_t end, size_t) {
        alignas(64) T sums[kSums] = {};
        size_t block = begin / tiles, tile = begin % tiles;
        for (size_t i = begin; i < end; ++i) {
          one(tile, block, block + 1, sums, nullptr);
          if (++tile == tiles) {
            tile = 0;
            ++block;
          }
        }
      });
    }
  }

 private:
  void find_runs();

  // Removes the sums of pixels past the ends of rows.
  template <class T>
  void close_gaps(size_t span, size_t from, size_t count, T* sums) const {
    T* to = sums;
    for (size_t s = 0; s < count; ++s) {
      const size_t pixels = first_pixel(span, from + s + 1) - first_pixel(span, from + s);
      if (to != sums + s * span * kBlock) std::copy_n(sums + s * span * kBlock, pixels * kBlock, to);
      to += pixels * kBlock;
    }
  }

  // Moves the sums of a block to the places of its channels in the result.
  template <class T>
  void collect(const Block& block, size_t pixel_count, const T* sums, T* collected) const {
    for (size_t p = 0; p < pixel_count; ++p, sums += kBlock, collected += collected_stride()) {
      if (shuffled.empty()) {
        std::copy_n(sums, block.channels, collected + block.channel);
      } else {
        for (size_t c = 0; c < block.channels; ++c) collected[shuffled[block.channel + c]] = sums[c];
      }
    }
  }

  // Finishes a block whose positions are different pixels of the result.
  template <class T, class Finish>
  void finish_positions(const Block& block, Pixels pixels, EpilogueTile part, const T* sums, Finish& finish) const {
    part.pixel_step = upscale;
    for (size_t i = 0; i < block.positions; ++i, sums += block.channels) {
      const size_t position = block.position + i;
      part.table = position * table_stride(result_channels) + block.channel;
      for (size_t done = 0; done < pixels.count;) {
        const Segment segment = find_segment({pixels.begin + done, pixels.count - done}, position);
        part.pixel = segment.place;
        part.pixel_count = segment.count;
        done += segment.skipped;
        if (segment.count > 0) finish(part, sums + done * kBlock, kBlock);
        done += segment.count;
      }
    }
  }
};

// The plan and the first rows of its blocks, which nodes with the same geometry share.
template <class Geometry>
const ConvPlan& shared_plan(Store& store, Shape input, const Geometry& geometry, size_t bytes, size_t shuffle = 1) {
  const auto make = [&] {
    if constexpr (std::is_same_v<Geometry, Convolution>)
      return ConvPlan(input, geometry, bytes, shuffle);
    else
      return ConvPlan(input, geometry, bytes);
  };
  return store.object(Key("plan", input, geometry, bytes, shuffle), make,
                      [](const ConvPlan& plan) { return plan.bytes(); });
}
const std::vector<size_t>& shared_panel_rows(Store& store, const ConvPlan& plan, size_t panel);

// Packs the real weights of `rows` channels, at(channel, k) for each of `depth` inputs, in panels of `panel` channels
// (see kernels/float_conv/float_conv.h). Entries of missing channels are left as they are.
template <class At>
void fill_panels(float* panels, size_t panel, size_t rows, size_t depth, At at) {
  for (size_t c = 0; c < rows; ++c) {
    float* to = panels + c / panel * panel * depth + c % panel;
    for (size_t k = 0; k < depth; ++k) to[k * panel] = at(c, k);
  }
}

}  // namespace onebit
