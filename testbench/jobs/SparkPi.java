import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;

/** Estimates pi by random points. Argument: the number of tasks (default 2). */
public final class SparkPi {
    private static final int POINTS_PER_TASK = 100_000;

    public static void main(String[] args) {
        int tasks = args.length > 0 ? Integer.parseInt(args[0]) : 2;
        List<Integer> seeds = new ArrayList<>();
        for (int i = 0; i < tasks; i++) {
            seeds.add(i);
        }
        try (JavaSparkContext spark = new JavaSparkContext(new SparkConf())) {
            long inside = spark.parallelize(seeds, tasks).map(seed -> inCircle()).reduce(Long::sum);
            System.out.println("Pi is roughly " + 4.0 * inside / ((double) tasks * POINTS_PER_TASK));
        }
    }

    private static long inCircle() {
        ThreadLocalRandom random = ThreadLocalRandom.current();
        long inside = 0;
        for (int i = 0; i < POINTS_PER_TASK; i++) {
            double x = random.nextDouble() * 2 - 1;
            double y = random.nextDouble() * 2 - 1;
            if (x * x + y * y <= 1) {
                inside++;
            }
        }
        return inside;
    }
}
