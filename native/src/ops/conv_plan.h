// The geometry that both convolutions share: where taps lie, and the order in which tiles are computed.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/op.h"

namespace onebit {

// A convolution reads a *prepared* map: the input with its padding all around, `pixel_bytes` for each pixel, of which
// each group owns `group_bytes`. Taps that are neighbours in memory form runs.
struct ConvPlan {
  ConvPlan(Shape input, const Convolution& geometry, size_t group_bytes);

  // Channels of the output, at most kBlock, of one group: the unit in which weights are interleaved.
  struct Block {
    size_t group, channel, channels;
  };

  Shape input;
  Convolution geometry;
  Pair output;
  size_t padded_height, padded_width;
  size_t group_bytes, pixel_bytes;
  std::vector<ptrdiff_t> runs;  // distance in bytes from a pixel's first tap
  size_t taps_per_run;
  std::vector<Block> blocks;
  // Groups whose channels do not fill words leave bits of one word to several groups. Their sums are collected side by
  // side for all channels before the epilogue runs; otherwise it runs block by block.
  bool collect_groups;

  size_t pixels() const { return output.vertical * output.horizontal; }
  size_t taps() const { return geometry.kernel.vertical * geometry.kernel.horizontal; }
  size_t prepared_bytes() const { return padded_height * padded_width * pixel_bytes; }
  bool is_padded() const { return geometry.padding.vertical > 0 || geometry.padding.horizontal > 0; }
  size_t collected_stride() const { return padded_channels(geometry.out_channels); }

  // Fills first[i] with the first tap of pixel `from + i`, of group 0.
  void locate(const uint8_t* prepared, size_t from, size_t count, const uint8_t** first) const;

  // Splits all tiles among the threads. For every tile: compute(block index, pixel addresses, count, sums
  // [..][kBlock]), then finish(tile, sums, stride) once the sums of all channels of `tile` are there. T is the type of
  // a sum.
  template <class T, class Compute, class Finish>
  void for_each_tile(const RunContext& context, const Epilogue& epilogue, const uint8_t* prepared, size_t tile_pixels,
                     Compute compute, Finish finish) const {
    const size_t tiles = (pixels() + tile_pixels - 1) / tile_pixels;
    const auto one = [&](size_t tile, size_t first_block, size_t last_block, T* sums, T* collected) {
      const uint8_t *first[kMaxPixels], *group_first[kMaxPixels];
      EpilogueTile part = epilogue.tile(context);
      part.pixel = tile * tile_pixels;
      part.pixel_count = std::min(tile_pixels, pixels() - part.pixel);
      locate(prepared, part.pixel, part.pixel_count, first);
      for (size_t b = first_block; b < last_block; ++b) {
        const Block& block = blocks[b];
        for (size_t p = 0; p < part.pixel_count; ++p) group_first[p] = first[p] + block.group * group_bytes;
        compute(b, group_first, part.pixel_count, sums);
        part.channel = block.channel;
        part.channels = block.channels;
        if (!collected) {
          finish(part, sums, kBlock);
          continue;
        }
        for (size_t p = 0; p < part.pixel_count; ++p) {
          std::copy_n(sums + p * kBlock, block.channels, collected + p * collected_stride() + block.channel);
        }
      }
      if (!collected) return;
      for (part.channel = 0; part.channel < geometry.out_channels; part.channel += kBlock) {
        part.channels = std::min(kBlock, geometry.out_channels - part.channel);
        finish(part, collected + part.channel, collected_stride());
      }
    };
    if (collect_groups) {
      context.pool.for_ranges(tiles, [&](size_t begin, size_t end, size_t worker) {
        T* collected = reinterpret_cast<T*>(context.worker_scratch[worker]);
        alignas(64) T sums[kMaxPixels * kBlock] = {};
        for (size_t tile = begin; tile < end; ++tile) one(tile, 0, blocks.size(), sums, collected);
      });
    } else {  // block by block, so that the weights of a block stay in cache over many pixels
      context.pool.for_ranges(tiles * blocks.size(), [&](size_t begin, size_t end, size_t) {
        alignas(64) T sums[kMaxPixels * kBlock] = {};  // channels that do not exist keep these zeros or finite sums
        for (size_t i = begin; i < end; ++i) one(i % tiles, i / tiles, i / tiles + 1, sums, nullptr);
      });
    }
  }
};

}  // namespace onebit
