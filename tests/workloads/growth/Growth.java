// Holds more and more, or not, as its first argument says, for as many ms as its second one says.
// What leaks is kept by `remember`; `render` makes garbage, so that the collector runs many times.
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

public class Growth {
    static final List<byte[]> kept = new ArrayList<>();
    static final Map<Integer, byte[]> recent = new LinkedHashMap<>();

    static void remember(int round) {
        for (int i = 0; i < 20; i++) {
            byte[] block = new byte[4000];
            java.util.Arrays.fill(block, (byte) round);
            kept.add(block);
        }
    }

    static void recall(int round) {
        for (int i = 0; i < 20; i++) {
            recent.put(round * 20 + i, new byte[4000]);
            recent.remove(round * 20 + i - 1000);
        }
    }

    static int render(int round) {
        int length = 0;
        for (int i = 0; i < 300; i++) length += new byte[8000 + (round + i) % 100].length;
        return length;
    }

    public static void main(String[] args) throws InterruptedException {
        long until = System.currentTimeMillis() + Long.parseLong(args[1]);
        for (int round = 0; System.currentTimeMillis() < until; round++) {
            if (args[0].equals("list")) remember(round);
            else recall(round);
            if (render(round) == 0) return;
            Thread.sleep(10);
        }
    }
}
