// Python module onebit._core: checks arguments, releases the GIL, calls the library.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "onebit/engine.h"
#include "onebit/limits.h"

namespace nb = nanobind;
using namespace nb::literals;
using onebit::Builder;
using onebit::Engine;
using onebit::Step;

namespace {

template <class T>
using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Images = nb::ndarray<const T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

template <class T>
std::vector<T> to_vector(const Array<T>& array) {
  return std::vector<T>(array.data(), array.data() + array.size());
}

// A NumPy array that owns its memory.
template <class T>
struct Owned {
  explicit Owned(size_t count)
      : data(new T[count]), owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); }) {}

  auto array(std::initializer_list<size_t> shape) { return nb::ndarray<nb::numpy, T>(data, shape, owner); }

  T* data;
  nb::capsule owner;
};

nb::tuple as_tuple(onebit::Shape s) { return nb::make_tuple(s.height, s.width, s.channels); }

onebit::Shape as_shape(nb::tuple sides) {
  if (nb::len(sides) != 3) throw std::invalid_argument("shape must be (height, width, channels)");
  return {nb::cast<size_t>(sides[0]), nb::cast<size_t>(sides[1]), nb::cast<size_t>(sides[2])};
}

onebit::Rule rule(const std::string& name) {
  if (name == "sign") return onebit::Rule::sign;
  if (name == "step") return onebit::Rule::step;
  throw std::invalid_argument("rule '" + name + "' is neither 'sign' nor 'step'");
}

onebit::ValueType value_type(const std::string& name) {
  if (name == "float32") return onebit::ValueType::float32;
  if (name == "float16") return onebit::ValueType::float16;
  if (name == "uint8") return onebit::ValueType::uint8;
  throw std::invalid_argument("type '" + name + "' is none of 'float32', 'float16', 'uint8'");
}

onebit::Pair pair(nb::tuple sides) {
  if (nb::len(sides) != 2) throw std::invalid_argument("a pair has two numbers: vertical, horizontal");
  return {nb::cast<size_t>(sides[0]), nb::cast<size_t>(sides[1])};
}

onebit::Pooling pooling(nb::tuple kernel, nb::tuple stride, nb::tuple padding) {
  return {pair(kernel), pair(stride), pair(padding)};
}

// The kernel's sides and the output channels are those of the weight [O, KH, KW, depth].
template <class T>
onebit::Convolution convolution(const Array<T>& weight, nb::tuple stride, nb::tuple padding, nb::tuple dilation,
                                size_t groups) {
  if (weight.ndim() != 4) throw std::invalid_argument("weight must be [out channels, height, width, depth]");
  return {{weight.shape(1), weight.shape(2)}, pair(stride), pair(padding), pair(dilation), groups, weight.shape(0)};
}

template <class T>
onebit::ReshapedConvolution reshaped(const Array<T>& weight, size_t block, size_t upscale, size_t roll) {
  if (weight.ndim() != 4 || weight.shape(1) != block || weight.shape(2) != block) {
    throw std::invalid_argument("weight must be [out channels, block, block, depth]");
  }
  return {block, upscale, roll, weight.shape(0)};
}

// Results of `images`, and the time of every node in ns.
template <class T>
nb::tuple run(Engine& engine, const Images<T>& images) {
  const onebit::Shape in = engine.input_shape(), out = engine.output_shape();
  if (images.shape(1) != in.height || images.shape(2) != in.width || images.shape(3) != in.channels) {
    throw std::invalid_argument("images must be [count, " + std::to_string(in.height) + ", " +
                                std::to_string(in.width) + ", " + std::to_string(in.channels) + "]");
  }
  const size_t count = images.shape(0);
  Owned<float> results(count * out.height * out.width * out.channels);
  Owned<int64_t> node_ns(engine.nodes().size());
  std::fill_n(node_ns.data, engine.nodes().size(), 0);
  {
    nb::gil_scoped_release unlocked;
    engine.run(images.data(), count, results.data, node_ns.data);
  }
  return nb::make_tuple(results.array({count, out.height, out.width, out.channels}),
                        node_ns.array({engine.nodes().size()}));
}

nb::dict values(const Engine& engine) {
  nb::dict all;
  for (size_t i = 0; i < engine.values().size(); ++i) {
    const onebit::ValueInfo& value = engine.values()[i];
    const auto copy = [&](auto type, size_t channels) {
      using T = decltype(type);
      Owned<T> copied(value.shape.height * value.shape.width * channels);
      std::copy_n(static_cast<const T*>(engine.value(i)), value.shape.height * value.shape.width * channels,
                  copied.data);
      all[value.name.c_str()] = copied.array({1, value.shape.height, value.shape.width, channels});
    };
    if (value.type == onebit::ValueType::float32) {
      copy(float{}, value.shape.channels);
    } else if (value.type == onebit::ValueType::float16) {
      copy(uint16_t{}, value.shape.channels);
    } else {
      copy(uint32_t{}, (value.shape.channels + 31) / 32);
    }
  }
  return all;
}

nb::list nodes(const Engine& engine) {
  nb::list rows;
  for (const onebit::NodeInfo& node : engine.nodes()) {
    rows.append(nb::make_tuple(node.name, node.op, as_tuple(node.output), node.kernel, node.macs));
  }
  return rows;
}

nb::list isas() {
  nb::list rows;
  const onebit::Isa best = onebit::choose_isa();
  for (onebit::Isa isa : onebit::kIsas) {
    rows.append(nb::make_tuple(onebit::name(isa), onebit::built_for(isa), onebit::cpu_has(isa), isa == best));
  }
  return rows;
}

nb::list kernels() {
  nb::list rows;
  for (const onebit::KernelInfo& kernel : onebit::all_kernels()) {
    rows.append(nb::make_tuple(kernel.family, kernel.name, onebit::name(kernel.isa)));
  }
  return rows;
}

nb::dict limits(const std::string& isa, size_t threads) {
  onebit::Limits found;
  {
    nb::gil_scoped_release unlocked;
    found = onebit::measure_limits(onebit::choose_isa(isa), threads);
  }
  nb::dict rates;
  rates["binary"] = found.binary;
  rates["float32"] = found.float32;
  rates["int8"] = found.int8;
  return rates;
}

double time_binary_kernel(const std::string& isa, nb::tuple shape, size_t out_channels, size_t side, size_t repeats) {
  const onebit::Shape input = as_shape(shape);
  nb::gil_scoped_release unlocked;
  return onebit::time_binary_kernel(onebit::choose_isa(isa), input, out_channels, side, repeats);
}

void bind_steps(nb::module_& m) {
  nb::class_<Step>(m, "Step", "One step of an epilogue; see docs/format.md.")
      .def_static(
          "affine",
          [](Array<float> scale, Array<float> bias) { return Step::affine(to_vector(scale), to_vector(bias)); },
          "scale"_a, "bias"_a)
      .def_static(
          "slopes",
          [](Array<float> positive, Array<float> negative) {
            return Step::slopes(to_vector(positive), to_vector(negative));
          },
          "positive"_a, "negative"_a)
      .def_static("clamp", &Step::clamp, "low"_a, "high"_a)
      .def_static("add", &Step::add, "input"_a)
      .def_static(
          "levels", [](float low, float high, const std::string& r) { return Step::levels(low, high, rule(r)); },
          "low"_a, "high"_a, "rule"_a)
      .def_static(
          "binarize",
          [](const std::string& output, const std::string& r, std::optional<Array<float>> threshold) {
            return Step::binarize(output, rule(r), threshold ? to_vector(*threshold) : std::vector<float>{});
          },
          "output"_a, "rule"_a, "threshold"_a = nb::none())
      .def_static(
          "threshold",
          [](const std::string& output, Array<int32_t> below, Array<uint32_t> flip) {
            return Step::threshold(output, to_vector(below), to_vector(flip));
          },
          "output"_a, "below"_a, "flip"_a)
      .def_static(
          "store",
          [](const std::string& output, const std::string& type) { return Step::store(output, value_type(type)); },
          "output"_a, "type"_a = "float32");
}

void bind_builder(nb::module_& m) {
  using Steps = const std::vector<Step>&;
  using Text = const std::string&;
  nb::class_<Builder>(m, "Builder", "Collects a network node by node; finish() makes the engine.")
      .def(
          "__init__",
          [](Builder* self, Text input, nb::tuple shape, std::vector<float> mean, std::vector<float> std,
             size_t threads, Text isa, bool keep_values, bool tune, Text input_type) {
            new (self) Builder(input, as_shape(shape), std::move(mean), std::move(std),
                               {threads, isa, keep_values, tune}, value_type(input_type));
          },
          "input"_a, "shape"_a, "mean"_a, "std"_a, "threads"_a = 1, "isa"_a = "", "keep_values"_a = false,
          "tune"_a = false, "input_type"_a = "float32")
      .def(
          "binary_conv2d",
          [](Builder& b, Text name, Text input, Array<uint32_t> weight, nb::tuple stride, nb::tuple padding,
             nb::tuple dilation, size_t groups, int pad_value, Steps epilogue, size_t shuffle) {
            b.binary_conv2d(name, input, convolution(weight, stride, padding, dilation, groups), pad_value,
                            to_vector(weight), epilogue, shuffle);
          },
          "name"_a, "input"_a, "weight"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "pad_value"_a,
          "epilogue"_a, "shuffle"_a = 1)
      .def(
          "binary_rpc2d",
          [](Builder& b, Text name, Text input, Array<uint32_t> weight, size_t block, size_t upscale, size_t roll,
             int pad_value, Steps epilogue) {
            b.binary_rpc2d(name, input, reshaped(weight, block, upscale, roll), pad_value, to_vector(weight), epilogue);
          },
          "name"_a, "input"_a, "weight"_a, "block"_a, "upscale"_a, "roll"_a, "pad_value"_a, "epilogue"_a)
      .def(
          "rpc2d",
          [](Builder& b, Text name, Text input, Array<float> weight, size_t block, size_t upscale, size_t roll,
             Steps epilogue) {
            b.rpc2d(name, input, reshaped(weight, block, upscale, roll), to_vector(weight), epilogue);
          },
          "name"_a, "input"_a, "weight"_a, "block"_a, "upscale"_a, "roll"_a, "epilogue"_a)
      .def(
          "conv2d",
          [](Builder& b, Text name, Text input, Array<float> weight, nb::tuple stride, nb::tuple padding,
             nb::tuple dilation, size_t groups, Steps epilogue) {
            b.conv2d(name, input, convolution(weight, stride, padding, dilation, groups), to_vector(weight), epilogue);
          },
          "name"_a, "input"_a, "weight"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "epilogue"_a)
      .def(
          "int8_conv2d",
          [](Builder& b, Text name, Text input, Array<int8_t> weight, Array<int32_t> zero, Array<float> scale,
             nb::tuple stride, nb::tuple padding, nb::tuple dilation, size_t groups, Steps epilogue) {
            b.int8_conv2d(name, input, convolution(weight, stride, padding, dilation, groups), to_vector(weight),
                          to_vector(zero), to_vector(scale), epilogue);
          },
          "name"_a, "input"_a, "weight"_a, "zero"_a, "scale"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a,
          "epilogue"_a)
      .def(
          "conv2d_bits",
          [](Builder& b, Text name, Text input, Array<uint32_t> weight_bits, nb::tuple stride, nb::tuple padding,
             nb::tuple dilation, size_t groups, Steps epilogue) {
            b.conv2d_bits(name, input, convolution(weight_bits, stride, padding, dilation, groups),
                          to_vector(weight_bits), epilogue);
          },
          "name"_a, "input"_a, "weight_bits"_a, "stride"_a, "padding"_a, "dilation"_a, "groups"_a, "epilogue"_a)
      .def(
          "max_pool2d",
          [](Builder& b, Text name, Text input, nb::tuple kernel, nb::tuple stride, nb::tuple padding, Steps epilogue) {
            b.max_pool2d(name, input, pooling(kernel, stride, padding), epilogue);
          },
          "name"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a, "epilogue"_a)
      .def(
          "avg_pool2d",
          [](Builder& b, Text name, Text input, nb::tuple kernel, nb::tuple stride, nb::tuple padding,
             bool count_include_pad, Steps epilogue) {
            b.avg_pool2d(name, input, pooling(kernel, stride, padding), count_include_pad, epilogue);
          },
          "name"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a, "count_include_pad"_a, "epilogue"_a)
      .def(
          "bit_max_pool2d",
          [](Builder& b, Text name, Text input, Array<uint32_t> flip, nb::tuple kernel, nb::tuple stride,
             nb::tuple padding, Steps epilogue) {
            b.bit_max_pool2d(name, input, pooling(kernel, stride, padding), to_vector(flip), epilogue);
          },
          "name"_a, "input"_a, "flip"_a, "kernel"_a, "stride"_a, "padding"_a, "epilogue"_a)
      .def("elementwise", &Builder::elementwise, "name"_a, "input"_a, "epilogue"_a)
      .def("flatten", &Builder::flatten, "name"_a, "input"_a, "epilogue"_a)
      .def("pad_channels", &Builder::pad_channels, "name"_a, "input"_a, "before"_a, "after"_a, "epilogue"_a)
      .def("shuffle_channels", &Builder::shuffle_channels, "name"_a, "input"_a, "groups"_a, "epilogue"_a)
      .def("concat", &Builder::concat, "name"_a, "inputs"_a, "epilogue"_a)
      .def("finish", &Builder::finish, "output"_a);
}

void bind_engine(nb::module_& m) {
  nb::class_<Engine>(m, "Engine", "A network, ready to run.")
      .def("run", &run<float>, "images"_a.noconvert(), "(results, ns of every node) of normalized float32 NHWC images.")
      .def("run", &run<uint8_t>, "images"_a.noconvert(), "(results, ns of every node) of uint8 NHWC pixels.")
      .def("nodes", &nodes, "(name, op, output shape, kernel, multiply-accumulates) of every node.")
      .def("values", &values, "Values of the last image by name, float16 as uint16; only with keep_values.")
      .def_prop_ro("isa", [](const Engine& e) { return onebit::name(e.isa()); })
      .def_prop_ro("threads", &Engine::threads)
      .def_prop_ro("memory", &Engine::memory, "Bytes for values and scratch, without weights.");
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The C++ core of onebit.";
  bind_steps(m);
  bind_builder(m);
  bind_engine(m);
  m.def("isas", &isas, "(name, built, supported by this CPU, chosen) of every instruction set, worst first.");
  m.def("kernels", &kernels, "(family, name, instruction set) of every kernel of this build, best first.");
  m.def("limits", &limits, "isa"_a, "threads"_a = 1,
        "Multiply-accumulates per second that so many threads can do together, by kind; 0: not known.");
  m.def("time_binary_kernel", &time_binary_kernel, "isa"_a, "shape"_a, "out_channels"_a, "side"_a, "repeats"_a,
        "Shortest time, in seconds, of the kernel's part of a binary convolution.");
  m.def("tuned_kernels", &onebit::tuned_kernels, "Layer -> kernel: what tuning has found in this process.");
  m.def("set_tuned_kernels", &onebit::set_tuned_kernels, "kernels"_a, "Layers that need not be timed again.");
  m.def("cpu_name", &onebit::cpu_name, "The CPU's own description of itself.");
}
