# The history format and its checker: docs/internals/history.md.
find_package(nlohmann_json REQUIRED)
add_library(sagaz_history STATIC ${CMAKE_CURRENT_LIST_DIR}/history.cpp
                                 ${CMAKE_CURRENT_LIST_DIR}/history_check.cpp)
target_include_directories(sagaz_history PUBLIC ${PROJECT_SOURCE_DIR})
target_compile_features(sagaz_history PUBLIC cxx_std_20)
target_link_libraries(sagaz_history PUBLIC nlohmann_json::nlohmann_json)
sagaz_flags(sagaz_history)

add_executable(history_check ${CMAKE_CURRENT_LIST_DIR}/history_check_tool.cpp)
target_link_libraries(history_check PRIVATE sagaz_history)
sagaz_flags(history_check)

sagaz_test(history_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/history_test.cpp LINK sagaz_history
           LABELS unit)
