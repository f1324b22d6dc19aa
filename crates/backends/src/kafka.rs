//! Apache Kafka as the log, through librdkafka.
