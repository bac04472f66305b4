// A member of a group that reads with Confluent's Parallel Consumer, for one test. It fails what has one of the given keys, so
// that those messages stay open, and says of every message what became of it, a line each: `done PARTITION OFFSET` or
// `failed PARTITION OFFSET`. It leaves the group, after a last commit, when its standard input ends, and says `closed`.

import io.confluent.parallelconsumer.PCRetriableException;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

class ParallelConsumerMember {
    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0], group = arguments[1], topic = arguments[2];
        Set<String> failing = Set.of(arguments[3].split(","));

        Properties properties = new Properties();
        properties.put("bootstrap.servers", servers);
        properties.put("group.id", group);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        var consumer = new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
        var options = ParallelConsumerOptions.<String, String>builder()
            .consumer(consumer)
            .ordering(ProcessingOrder.KEY)
            .commitMode(CommitMode.PERIODIC_CONSUMER_SYNC)
            .maxConcurrency(8)
            // Messages that wait behind a failing one count: with a small buffer it stops reading for good.
            .messageBufferSize(100_000)
            .build();
        var processor = ParallelStreamProcessor.createEosStreamProcessor(options);
        processor.subscribe(List.of(topic));
        processor.poll(context -> {
            var message = context.getSingleConsumerRecord();
            boolean fails = failing.contains(message.key());
            say((fails ? "failed " : "done ") + message.partition() + " " + message.offset());
            if (fails) {
                throw new PCRetriableException("this key is to stay open");
            }
        });

        while (System.in.read() >= 0) { }
        processor.closeDontDrainFirst(Duration.ofSeconds(30));
        say("closed");
        System.exit(0);
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
