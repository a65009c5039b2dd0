import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaSparkContext;
import scala.Tuple2;

/**
 * Moves data between executors: every map task writes for every reduce task.
 * Prints {@code shuffle: N keys, sum S, executors E} and exits with 1 if a number is wrong.
 * Argument: how many executors must take part (default 2).
 */
public final class ShuffleJob {
    private static final int NUMBERS = 100_000;
    private static final int KEYS = 100;

    public static void main(String[] args) throws InterruptedException {
        int wanted = args.length > 0 ? Integer.parseInt(args[0]) : 2;
        List<Integer> numbers = new ArrayList<>();
        for (int i = 0; i < NUMBERS; i++) {
            numbers.add(i);
        }
        try (JavaSparkContext spark = new JavaSparkContext(new SparkConf())) {
            awaitExecutors(spark, wanted);
            JavaPairRDD<Integer, Iterable<Integer>> groups =
                    spark.parallelize(numbers, 8).mapToPair(n -> new Tuple2<>(n % KEYS, n)).groupByKey(8);
            // Without the pause one executor may take all tasks before the other is asked.
            List<Tuple2<String, Long>> parts = groups.mapPartitions(partition -> {
                Thread.sleep(200);
                List<Tuple2<String, Long>> out = new ArrayList<>();
                String executor = SparkEnv.get().executorId();
                partition.forEachRemaining(group -> {
                    long sum = 0;
                    for (int n : group._2) {
                        sum += n;
                    }
                    out.add(new Tuple2<>(executor, sum));
                });
                return out.iterator();
            }).collect();

            Set<String> executors = new HashSet<>();
            long sum = 0;
            for (Tuple2<String, Long> part : parts) {
                executors.add(part._1);
                sum += part._2;
            }
            System.out.println("shuffle: " + parts.size() + " keys, sum " + sum + ", executors " + executors.size());
            boolean right = parts.size() == KEYS && sum == (long) NUMBERS * (NUMBERS - 1) / 2
                    && executors.size() >= wanted;
            if (!right) {
                System.exit(1);
            }
        }
    }

    /** The status tracker lists the driver too, hence the "greater than". */
    private static void awaitExecutors(JavaSparkContext spark, int wanted) throws InterruptedException {
        for (int i = 0; i < 600 && spark.sc().statusTracker().getExecutorInfos().length <= wanted; i++) {
            Thread.sleep(200);
        }
    }
}
