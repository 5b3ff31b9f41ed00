# Kafka for tests: a real server (kafka.sh, KafkaServer), librdkafka's mock cluster (KafkaMock) and
# a reader of topics. Link sagaz_test_support_kafka.
find_package(PkgConfig REQUIRED)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)

add_library(sagaz_test_support_kafka STATIC kafka_mock.cpp kafka_reader.cpp kafka_server.cpp)
target_include_directories(sagaz_test_support_kafka PUBLIC ${PROJECT_SOURCE_DIR})
target_compile_definitions(sagaz_test_support_kafka
  PRIVATE SAGAZ_KAFKA_SH="${CMAKE_CURRENT_SOURCE_DIR}/kafka.sh")
target_link_libraries(sagaz_test_support_kafka PUBLIC sagaz PkgConfig::RDKAFKA)
sagaz_flags(sagaz_test_support_kafka)
if(SAGAZ_SANITIZE MATCHES "thread")
  # Into each test binary itself, where librdkafka finds it first; see the file.
  target_sources(sagaz_test_support_kafka
    INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/tsan_threads.cpp)
endif()
