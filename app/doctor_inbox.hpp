#pragma once

/// What `doctor` asks of the inbox in PostgreSQL.
namespace sagaz::inline v0::app {

// One word where the days to come have no partition, or none is made any more since the default
// partition has become too large to be read under a lock (512 MiB, as for a relay); else nothing.
inline constexpr auto kNoPartition = R"(
select case
    when pg_relation_size('@schema@.consumer_inbox_default') > 536870912 then 'large'
    when not exists (select from @schema@.inbox_partitions() p
                     where p.begins <= clock_timestamp() + interval '1 day'
                       and p.ends > clock_timestamp() + interval '1 day') then 'missing'
    end
where exists (select from @schema@.consumer_inbox))";

// $1: the retention in milliseconds. Two days are what a relay may need.
inline constexpr auto kOldPartitions = R"(
select p.name || ' of ' || pg_size_pretty(pg_relation_size(format('@schema@.%I', p.name)))
from @schema@.inbox_partitions() p
where p.ends < clock_timestamp() - interval '2 days' - $1::bigint * interval '1 millisecond'
limit 10)";

}  // namespace sagaz::inline v0::app
