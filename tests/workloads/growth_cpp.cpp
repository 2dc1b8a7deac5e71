// Holds more and more, or not, as its first argument says, for as many ms as its second one says:
// containers of the standard library. What leaks is kept by `remember`.
#include <chrono>
#include <cstdlib>
#include <list>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

using Clock = std::chrono::steady_clock;

static std::unordered_map<long, std::string> sessions;
static std::vector<double> samples;
static std::list<std::string> recent;

__attribute__((noinline)) static void remember(long round)
{
    for (long i = 0; i < 100; i++)
        sessions[round * 100 + i] = std::string(300, 'x');
}

__attribute__((noinline)) static void sample()
{
    samples.insert(samples.end(), 6000, 0.5);
}

__attribute__((noinline)) static void recall(long round)
{
    for (long i = 0; i < 100; i++) {
        recent.push_back(std::string(300 + size_t(round % 7), 'y'));
        if (recent.size() > 2000)
            recent.pop_front();
    }
}

__attribute__((noinline)) static void grow_and_clear(long round)
{
    sample();
    if (round % 40 == 39) {
        samples.clear();
        samples.shrink_to_fit();
    }
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const std::string how = argv[1];
    const auto until = Clock::now() + std::chrono::milliseconds(std::atol(argv[2]));
    for (long round = 0; Clock::now() < until; round++) {
        if (how == "map")
            remember(round);
        else if (how == "vector")
            sample();
        else if (how == "bounded")
            recall(round);
        else if (how == "clears")
            grow_and_clear(round);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return 0;
}
