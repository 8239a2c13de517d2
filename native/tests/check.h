// A test harness on one page: any number of TEST(name) { CHECK(...); }, and RUN_TESTS() once. The program runs all
// tests; with an argument, those whose name contains it; with "-" before it, those whose name does not. A second
// argument n leaves out all but each n-th of the cases that ask left_out().
#pragma once

#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <vector>

namespace check {

struct Test {
  const char* name;
  std::function<void()> body;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(const char* name, std::function<void()> body) { tests().push_back({name, std::move(body)}); }
};

inline void fail(const char* file, int line, const std::string& what) {
  if (++failures() <= 20) std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

inline bool wanted(const std::string& name, const std::string& part) {
  if (part.rfind('-', 0) == 0) return name.find(part.substr(1)) == std::string::npos;
  return name.find(part) != std::string::npos;
}

inline size_t& every() {
  static size_t n = 1;
  return n;
}

inline bool left_out() {
  static size_t count = 0;
  return count++ % every() != 0;
}

inline int run(const std::string& part) {
  size_t count = 0;
  for (const Test& test : tests()) {
    if (!wanted(test.name, part)) continue;
    ++count;
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& error) {
      fail(test.name, 0, std::string("threw: ") + error.what());
    }
    std::printf("%s %s\n", failures() == before ? "ok  " : "FAIL", test.name);
  }
  if (count == 0) fail(part.c_str(), 0, "no test has this name");
  return failures() != 0;
}

}  // namespace check

#define TEST(name)                                           \
  static void name();                                        \
  static const check::Register register_##name(#name, name); \
  static void name()

#define CHECK(condition) CHECK_NOTE(condition, "")
#define CHECK_NOTE(condition, note) \
  ((condition) ? void() : check::fail(__FILE__, __LINE__, std::string(#condition) + "  " + (note)))

// The call must throw `type` with a message that contains `part`.
#define CHECK_THROWS(call, type, part)                                                   \
  try {                                                                                  \
    call;                                                                                \
    check::fail(__FILE__, __LINE__, #call " did not throw");                             \
  } catch (const type& error) {                                                          \
    CHECK_NOTE(std::string(error.what()).find(part) != std::string::npos, error.what()); \
  }

#define RUN_TESTS()                                     \
  int main(int argc, char** argv) {                     \
    if (argc > 2) check::every() = std::stoul(argv[2]); \
    return check::run(argc > 1 ? argv[1] : "");         \
  }
