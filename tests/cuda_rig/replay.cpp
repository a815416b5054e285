// Replays recorded launches: replay FILE ORDER... Every buffer is an allocation of exactly its size, so that
// AddressSanitizer sees what lies beyond; what it then holds must equal what was recorded.
//
// FILE is a sequence of records: u32 length and name; 6 u32 (grid, block); u32 count of arguments; each a u8
// kind: 0 a value (u32 size, bytes), 1 a buffer (u64 size, bytes before, bytes after), 2 a null pointer, 3 the
// same buffer as an earlier argument (u32 index). All little-endian.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

extern "C" const char* rig_launch(const char*, const unsigned*, const unsigned*, void**, unsigned);

namespace {

std::FILE* file;

void take(void* to, std::size_t size) {
  if (size && std::fread(to, 1, size, file) != size) {
    std::fprintf(stderr, "replay: the record ends early\n");
    std::exit(2);
  }
}

template <typename T>
T number() {
  T value;
  take(&value, sizeof value);
  return value;
}

struct Argument {
  std::vector<unsigned char> value, before, after;
  unsigned char* buffer = nullptr;
  bool owned = false;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || !(file = std::fopen(argv[1], "rb"))) return 2;
  unsigned launches = 0, different = 0;
  for (unsigned length; std::fread(&length, 1, 4, file) == 4; ++launches) {
    std::string name(length, ' ');
    take(&name[0], length);
    unsigned shape[6];
    take(shape, sizeof shape);
    std::vector<Argument> list(number<unsigned>());
    for (auto& a : list) {
      switch (number<unsigned char>()) {
        case 0:
          a.value.resize(number<unsigned>());
          take(a.value.data(), a.value.size());
          break;
        case 1:
          a.before.resize(number<unsigned long long>());
          a.after.resize(a.before.size());
          take(a.before.data(), a.before.size());
          take(a.after.data(), a.after.size());
          a.buffer = static_cast<unsigned char*>(std::malloc(a.before.size() ? a.before.size() : 1));
          a.owned = true;
          break;
        case 2:
          break;
        default:
          a.buffer = list.at(number<unsigned>()).buffer;
      }
      if (a.value.empty()) {
        a.value.resize(sizeof a.buffer);
        std::memcpy(a.value.data(), &a.buffer, sizeof a.buffer);
      }
    }
    std::vector<void*> values;
    for (auto& a : list) values.push_back(a.value.data());
    for (int i = 2; i < argc; ++i) {
      for (auto& a : list)
        if (a.owned && !a.before.empty()) std::memcpy(a.buffer, a.before.data(), a.before.size());
      const char* wrong = rig_launch(name.c_str(), shape, shape + 3, values.data(), (unsigned)std::atoi(argv[i]));
      if (wrong) {
        std::printf("%s: %s\n", name.c_str(), wrong);
        return 3;
      }
      for (auto& a : list)
        if (a.owned && !a.after.empty() && std::memcmp(a.buffer, a.after.data(), a.after.size())) {
          ++different;
          std::printf("%s, order %s: a buffer differs\n", name.c_str(), argv[i]);
        }
    }
    for (auto& a : list)
      if (a.owned) std::free(a.buffer);
  }
  std::fclose(file);
  std::printf("%u launches, %u buffers differ\n", launches, different);
  return different ? 1 : 0;
}
