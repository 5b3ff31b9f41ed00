#pragma once

/// What `doctor` asks of a log in PostgreSQL, where a check needs more than a line of SQL.
namespace sagaz::inline v0::app {

// Who keeps a delivered segment from being emptied: every lock on a leaf or on its TOAST table
// does, once its transaction lasts. Where its time is hidden the pid is all there is to say.
// "{holders}" is postgres::kLockHolders.
inline constexpr auto kSegmentHolders = R"(
with wanted as (
    select c.oid, c.oid as held, c.relname from pg_catalog.pg_class c
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    where i.inhparent = '@schema@.outbox'::regclass
    union all
    select c.oid, c.reltoastrelid, c.relname from pg_catalog.pg_class c
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    where i.inhparent = '@schema@.outbox'::regclass and c.reltoastrelid <> 0
), {holders}, named as (
    select h.relname || case when h.tables > 1 then format(' and %s more', h.tables - 1) else '' end
               as what,
           h.who, h.since, h.query_start,
           h.pid is not null and h.xact_start is null
               and not pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage')
               as is_hidden
    from holder h
)
select case when n.is_hidden
            then format('%s holds %s, its age hidden without pg_monitor', n.who, n.what)
            else format('%s holds %s for %s s', n.who, n.what,
                        extract(epoch from clock_timestamp() - n.since)::bigint)
                 || coalesce(', its query began at '
                             || to_char(n.query_start, 'YYYY-MM-DD HH24:MI:SS'), '')
       end
from named n
where n.is_hidden or n.since < clock_timestamp() - interval '10 seconds'
order by n.since nulls last
limit 10)";

// Half of what there is: 2^31 ids, of transactions and of multixacts, before writes are refused.
inline constexpr auto kOldTables = R"(
select format('%s at %s %%', c.oid::regclass,
              (greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) / 21474836.48)::int)
from pg_catalog.pg_class c
where c.relkind in ('r', 't') and c.relpersistence <> 't'
  and (c.relnamespace = '@schema@'::regnamespace
       or c.oid in (select t.reltoastrelid from pg_catalog.pg_class t
                    where t.relnamespace = '@schema@'::regnamespace))
  and greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) >= 1073741824
order by age(c.relfrozenxid) desc
limit 10)";

}  // namespace sagaz::inline v0::app
