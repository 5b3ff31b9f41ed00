#pragma once

/// What `doctor` asks of a log in PostgreSQL, where a check needs more than a line of SQL.
namespace sagaz::inline v0::app {

// Who keeps a delivered segment from being emptied: every lock on a leaf or on its TOAST table
// does, once its transaction lasts. A prepared transaction has no process; the lock on its own xid
// tells it. Whoever is not in pg_monitor sees no times of others; then the pid is all there is to
// say.
inline constexpr auto kSegmentHolders = R"(
with leaf as (
    select c.oid, c.oid as held, c.relname from pg_catalog.pg_class c
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    where i.inhparent = '@schema@.outbox'::regclass
    union all
    select c.oid, c.reltoastrelid, c.relname from pg_catalog.pg_class c
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    where i.inhparent = '@schema@.outbox'::regclass and c.reltoastrelid <> 0
), lock as (
    select l.pid, l.virtualtransaction as vxid, min(f.relname) as relname,
           count(distinct f.oid) as leaves
    from pg_catalog.pg_locks l
    join leaf f on f.held = l.relation
    where l.granted and l.locktype = 'relation'
      and l.database = (select d.oid from pg_catalog.pg_database d
                        where d.datname = current_database())
      and l.pid is distinct from pg_backend_pid()
    group by l.pid, l.virtualtransaction
), named as (
    select k.relname || case when k.leaves > 1 then format(' and %s more', k.leaves - 1) else '' end
               as what,
           case when k.pid is null then format('prepared transaction %s', quote_literal(p.gid))
                else format('pid %s', k.pid) end as who,
           coalesce(p.prepared, a.xact_start) as since,
           a.query_start,
           k.pid is not null and a.xact_start is null
               and not pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage')
               as is_hidden
    from lock k
    left join pg_catalog.pg_locks x
        on k.pid is null and x.pid is null and x.virtualtransaction = k.vxid
           and x.locktype = 'transactionid'
    left join pg_catalog.pg_prepared_xacts p on p.transaction = x.transactionid
    left join pg_catalog.pg_stat_activity a on a.pid = k.pid
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
