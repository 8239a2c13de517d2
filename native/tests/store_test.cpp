// Nodes share data that is computed from the same tensors, and memory is counted before it is touched.
#include "ops/store.h"

#include <algorithm>
#include <stdexcept>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

namespace {

using Error = std::invalid_argument;
using Floats = std::vector<float>;
using Words = std::vector<uint32_t>;

Convolution conv(size_t kernel, size_t out, size_t groups = 1) {
  return {{kernel, kernel}, {1, 1}, {kernel / 2, kernel / 2}, {1, 1}, groups, out};
}

// Bytes of weights and tables of a network of `nodes` nodes that all read the input's bits, added by
// add(builder, name, number).
template <class Add>
size_t weights(size_t nodes, Add add) {
  Builder b("x", {9, 9, 64}, Floats(64, 0.5f), Floats(64, 0.25f));
  b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
  for (size_t i = 0; i < nodes; ++i) add(b, std::to_string(i), i);
  return b.finish("y0")->memory().weights;
}

}  // namespace

TEST(blocks_are_counted_at_once_and_filled_at_the_end) {
  Store store(1000);
  Poll poll;
  int fills = 0;
  const auto fill = [&](float* out, Poll&) {
    ++fills;
    out[0] = 7.0f;
  };
  const float* const a = store.block<float>(Key("a", size_t{1}), 100, fill);
  CHECK(store.block<float>(Key("a", size_t{1}), 100, fill) == a);
  CHECK(store.block<float>(Key("a", size_t{2}), 100, fill) != a);
  CHECK(store.bytes() == 800 && fills == 0);
  CHECK_THROWS(store.zeros<float>(51), Error, "up to here weights and tables take more than max_memory = 1000 bytes");
  CHECK(store.bytes() == 800);
  const float* const zeros = store.zeros<float>(50);
  CHECK(zeros == store.zeros<float>(50) && store.bytes() == 1000);
  store.fill(poll);
  CHECK(fills == 2 && a[0] == 7.0f && a[99] == 0.0f && zeros[49] == 0.0f);
}

TEST(keys_differ_where_their_parts_do) {
  const Table<float> one{1, 2}, other{1, 2};
  CHECK(Key("a", one) < Key("a", other) || Key("a", other) < Key("a", one));
  CHECK(!(Key("a", one) < Key("a", Table<float>(one))) && !(Key("a", Table<float>(one)) < Key("a", one)));
  CHECK(Key("a", size_t{1}) < Key("a", size_t{2}) && Key("a", size_t{9}) < Key("b", size_t{1}));
}

TEST(nodes_share_the_weights_and_tables_that_they_name) {
  const Table<uint32_t> words(Words(64 * 9 * 2)), other(Words(64 * 9 * 2));
  const Table<float> floats(Floats(64 * 64)), scale(Floats(64, 1.0f));
  const auto binary = [&](Builder& b, const std::string& n, size_t) {
    b.binary_conv2d("c" + n, "bits", conv(3, 64), 0, words, {Step::affine(scale, scale), Step::store("y" + n)});
  };
  const auto separate = [&](Builder& b, const std::string& n, size_t i) {
    b.binary_conv2d("c" + n, "bits", conv(3, 64), 0, i ? other : words,
                    {Step::affine(scale, scale), Step::store("y" + n)});
  };
  const auto real = [&](Builder& b, const std::string& n, size_t) {
    b.conv2d("c" + n, "x", conv(1, 64), floats, {Step::slopes(scale, scale), Step::store("y" + n)});
  };
  CHECK(weights(1, binary) == weights(50, binary));
  CHECK(weights(1, real) == weights(50, real));
  CHECK(weights(2, separate) > weights(1, separate) + 64 * 9 * 2 * 4);
  // Steps without tables need no memory.
  const auto plain = [&](Builder& b, const std::string& n, size_t) {
    b.elementwise("c" + n, "x", {Step::store("y" + n)});
  };
  CHECK(weights(1, plain) == weights(1000, plain));
}

// Weight bits that are used as floats are stored only once, in the kernel's layout.
TEST(weights_of_a_real_convolution_are_counted_exactly) {
  const size_t without = weights(1, [](Builder& b, const std::string& n, size_t) {
    b.conv2d("c" + n, "x", conv(1, 64), Floats(64 * 64), {Step::store("y" + n)});
  });
  const size_t with = weights(1, [](Builder& b, const std::string& n, size_t) {
    b.conv2d("c" + n, "x", conv(1, 64), Floats(64 * 64), {Step::store("y" + n)});
    b.conv2d_bits("d" + n, "x", conv(1, 192), Words(192 * 2), {Step::store("z" + n)});
  });
  CHECK(with > without + 192 * 64 * 4 && with < without + 192 * 64 * 4 + 4096);
}

TEST(a_network_that_takes_too_much_is_refused_before_its_memory_is_touched) {
  const Words words(64 * 9 * 2);
  const auto build = [&](size_t limit) {
    Options options;
    options.max_memory = limit;
    Builder b("x", {9, 9, 64}, Floats(64, 0.5f), Floats(64, 0.25f), options);
    b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
    b.binary_conv2d("c", "bits", conv(3, 64), 0, words, {Step::store("y")});
    return b.finish("y");
  };
  const Memory memory = build(size_t{1} << 33)->memory();
  CHECK(memory.values > 0 && memory.scratch > 0 && memory.weights > words.size() * 4);
  CHECK(build(memory.total())->memory().total() == memory.total());
  CHECK_THROWS(build(memory.total() - 1), Error, "more than max_memory = " + std::to_string(memory.total() - 1));
  CHECK_THROWS(build(memory.weights - 1), Error, "c: up to here weights and tables take more than max_memory");
  CHECK_THROWS(build(0), Error, "max_memory = 0");
}

// Border tables take time proportional to the number of taps plus the size of the table, not to their product, which
// is 1.7e10 for the larger map.
TEST(zero_padding_of_large_kernels_is_prepared_in_no_time) {
  const auto build = [](size_t side) {
    Builder b("x", {side, side, 32}, Floats(32, 0.5f), Floats(32, 0.25f));
    b.elementwise("sign", "x", {Step::binarize("bits", Rule::sign)});
    Convolution g = conv(side, 1);
    g.padding = {side - 1, side - 1};
    b.binary_conv2d("c", "bits", g, 0, Words(side * side, 0xFFFFFFFFu), {Step::store("y")});
    return b.finish("y");
  };
  CHECK(build(256)->output_shape().height == 511);
  constexpr size_t kSide = 24;
  const auto engine = build(kSide);
  const size_t out = engine->output_shape().width;
  Floats y(out * out);
  engine->run(Floats(kSide * kSide * 32, 1.0f).data(), 1, y.data());
  const auto inside = [](size_t at) { return static_cast<float>(std::min(at + 1, 2 * kSide - 1 - at)); };
  for (size_t i = 0; i < out; ++i) {
    for (size_t j = 0; j < out; ++j) CHECK(y[i * out + j] == -32 * inside(i) * inside(j));
  }
}

TEST(a_hundred_thousand_nodes_take_a_moment) {
  Builder b("x", {1, 1, 1}, {0.5f}, {0.25f});
  std::string last = "x";
  const Table<float> one{1.0f}, zero{0.0f};
  constexpr size_t kNodes = 100000;
  for (size_t i = 0; i < kNodes; ++i) {
    const std::string next = "v" + std::to_string(i);
    if (i % 3 == 0) {
      b.conv2d("c" + next, last, {}, one, {Step::store(next)});
    } else if (i % 3 == 1) {  // fused with the one before
      b.max_pool2d("p" + next, last, {}, {Step::store(next)});
    } else {
      b.elementwise("e" + next, last, {Step::affine(one, zero), Step::store(next)});
    }
    last = next;
  }
  const auto engine = b.finish(last);
  CHECK(engine->memory().values <= 4 * 64);
  const float x = 3.0f;
  float y = 0;
  engine->run(&x, 1, &y);
  CHECK(y == 3.0f);
}

TEST(the_caller_is_asked_whether_to_go_on) {
  struct Stop {};
  bool stop = false;
  Options options;
  options.poll = [&] {
    if (stop) throw Stop{};
  };
  const auto build = [&](size_t nodes) {
    Builder b("x", {16, 16, 64}, Floats(64, 0.5f), Floats(64, 0.25f), options);
    for (size_t i = 0; i < nodes; ++i) {
      b.conv2d("c" + std::to_string(i), "x", conv(3, 256), Floats(256 * 9 * 64, 0.5f),
               {Step::store("y" + std::to_string(i))});
    }
    return b.finish("y0");
  };
  constexpr size_t kImages = 64;
  const Floats images(kImages * 16 * 16 * 64, 1.0f);
  const auto run = [&](Engine& engine, size_t count) {
    Floats y(count * 16 * 16 * 256);
    engine.run(images.data(), count, y.data());
    return y;
  };
  // Whether work on ever more nodes is interrupted, once one call of it takes longer than a tenth of a second.
  const auto is_stopped = [&](auto work) {
    bool stopped = false;
    for (size_t nodes = 1; nodes <= 1024 && !stopped; nodes *= 2) {
      try {
        work(nodes);
      } catch (const Stop&) {
        stopped = true;
      }
      stop = false;
    }
    return stopped;
  };
  auto engine = build(1);
  const Floats want = run(*engine, 1);
  CHECK(is_stopped([&](size_t nodes) {
    engine = build(nodes);
    stop = true;
    run(*engine, kImages);
  }));
  CHECK(run(*engine, 1) == want);
  CHECK(is_stopped([&](size_t nodes) {
    stop = true;
    build(nodes);
  }));
}

RUN_TESTS()
