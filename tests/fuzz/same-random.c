// Loaded before the fuzzer where a run has to be the same every time: std's hash maps ask for their keys here.
// Whatever needs randomness for its safety must not run with this.
#include <sys/types.h>

ssize_t getrandom(void *to, size_t bytes, unsigned flags) {
  static unsigned long long state = 1;
  (void)flags;
  for (size_t at = 0; at < bytes; at++) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL; // Knuth's MMIX
    ((unsigned char *)to)[at] = state >> 56;
  }
  return (ssize_t)bytes;
}
