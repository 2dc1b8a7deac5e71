import java.util.ArrayList;
import java.util.List;

/** A program that keeps 64 MiB in its heap. */
public class Cache {
    static final List<byte[]> BLOCKS = new ArrayList<>();

    static void add() {
        BLOCKS.add(new byte[4 << 10]);
    }

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 16 << 10; i++) {
            add();
        }
        Thread.sleep(200);
    }
}
