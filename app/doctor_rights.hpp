#pragma once

/// What `doctor` asks about roles and grants.
namespace sagaz::inline v0::app {

// What migrations/postgres/roles.sql grants; a test compares the two. Rights on columns stand with
// their columns; a function's name stands for all that bear it. "{judged}" gives (who, role, name):
// whose rights are asked for, as which of the group roles, and what to call them.
inline constexpr auto kMissingGrants = R"(
with granted (role, kind, objects, privileges, columns) as (values
    ('producer', 'table', 'outbox', 'INSERT',
     'event_id topic key event_type content_type payload headers aggregate_type aggregate_id '
     'saga_id'),
    ('producer', 'table', 'outbox', 'SELECT', 'event_id id xid slot created_at'),
    ('producer', 'table', 'incarnation', 'SELECT', ''),
    ('producer', 'table', 'outbox_json', 'INSERT SELECT', ''),
    ('producer', 'sequence', 'outbox_id', 'USAGE', ''),
    ('producer', 'function',
     'uuid_v7 slot_of fits outbox_json_insert append append_ticket resolve', 'EXECUTE', ''),
    ('publisher', 'table', 'outbox', 'INSERT', 'held_until'),
    ('publisher', 'table', 'setting schema_version', 'SELECT', ''),
    ('publisher', 'function', 'publisher_token', 'EXECUTE', ''),
    ('relay', 'table', 'outbox', 'SELECT DELETE', ''),
    ('relay', 'table', 'slot segment', 'SELECT UPDATE', ''),
    ('relay', 'table', 'relay parked', 'SELECT INSERT UPDATE DELETE', ''),
    ('relay', 'table', 'cursor', 'SELECT INSERT DELETE', ''),
    ('relay', 'table', 'incarnation', 'SELECT INSERT UPDATE', ''),
    ('relay', 'table', 'setting destination schema_version backlog', 'SELECT', ''),
    ('relay', 'table', 'audit', 'INSERT', ''),
    ('relay', 'sequence', 'outbox_id', 'SELECT', ''),
    ('relay', 'sequence', 'parked_position', 'USAGE', ''),
    ('relay', 'function',
     'attach segment_cursors segment_state delete_aged reclaim rebase cursor_doubt inbox_keep',
     'EXECUTE', ''),
    ('consumer', 'table', 'consumer_inbox', 'SELECT INSERT', ''),
    ('consumer', 'table', 'consumer_inbox', 'UPDATE', 'processing_duration_ms'),
    ('consumer', 'table', 'inbox_attempt', 'SELECT INSERT UPDATE DELETE', ''),
    ('consumer', 'table', 'setting schema_version', 'SELECT', ''),
    ('consumer', 'function',
     'inbox_event_id inbox_check inbox_wait_for_disk inbox_obstacle inbox_parked_as inbox_park '
     'inbox_mark inbox_unfinished inbox_mark_all inbox_count inbox_failed inbox_replay '
     'inbox_replay_failed', 'EXECUTE', ''),
    ('reader', 'table', 'outbox', 'SELECT',
     'xid id created_at held_until event_id slot topic key event_type content_type '
     'aggregate_type aggregate_id saga_id'),
    ('reader', 'table', 'parked', 'SELECT',
     'direction destination consumer_name position event_id slot xid state reason detail '
     'attempts next_attempt_at parked_at created_at original_id topic key event_type '
     'content_type aggregate_type aggregate_id saga_id'),
    ('reader', 'table', 'consumer_inbox', 'SELECT',
     'event_id consumed_at processing_duration_ms consumer_name original_id source_topic '
     'event_type payload_hash'),
    ('reader', 'table',
     'backlog slot segment relay cursor setting destination schema_version incarnation audit '
     'inbox_attempt', 'SELECT', ''),
    ('reader', 'sequence', 'outbox_id', 'SELECT', ''),
    ('reader', 'function', 'cursor_doubt inbox_first_id inbox_id_time inbox_partitions',
     'EXECUTE', '')
), leaf (role, kind, objects, privileges, columns) as (
    select l.role, l.kind, format(l.objects, lpad(n::text, 2, '0')), l.privileges, l.columns
    from generate_series(0, 15) n
    cross join (values ('publisher', 'function', 'confirm_%1$s settle_%1$s', 'EXECUTE', ''),
                       ('relay', 'table', 'outbox_%1$s', 'SELECT DELETE TRUNCATE', ''),
                       ('relay', 'table', 'outbox_%1$s', 'UPDATE', 'held_until'))
               l (role, kind, objects, privileges, columns)
), wanted as (
    select g.role, g.kind, o.object, p.privilege, c.name as column_name
    from (select * from granted union all select * from leaf) g
    cross join lateral string_to_table(g.objects, ' ') o (object)
    cross join lateral string_to_table(g.privileges, ' ') p (privilege)
    left join lateral string_to_table(nullif(g.columns, ''), ' ') c (name) on true
), judged (who, role, name) as (
    {judged}
), missing as (
    select j.name, w.privilege, w.object || coalesce('.' || w.column_name, '') as what
    from judged j
    join wanted w on w.role = j.role and w.kind = 'table'
    where case when w.column_name is null
               then not has_table_privilege(j.who, format('@schema@.%I', w.object), w.privilege)
               else not has_column_privilege(j.who, format('@schema@.%I', w.object),
                                             w.column_name, w.privilege) end
    union all
    select j.name, w.privilege, w.object
    from judged j
    join wanted w on w.role = j.role and w.kind = 'sequence'
    where not has_sequence_privilege(j.who, format('@schema@.%I', w.object), w.privilege)
    union all
    select j.name, 'EXECUTE', f.oid::regprocedure::text
    from judged j
    join wanted w on w.role = j.role and w.kind = 'function'
    join pg_catalog.pg_proc f on f.pronamespace = '@schema@'::regnamespace and f.proname = w.object
    where not has_function_privilege(j.who, f.oid, 'EXECUTE')
    union all
    select j.name, 'USAGE', 'schema @schema@'
    from judged j where not has_schema_privilege(j.who, '@schema@', 'USAGE')
)
select m.name || ' lacks ' || m.privilege || ' on ' || m.what
from missing m order by 1 limit 8)";

// The group roles that are there.
inline constexpr auto kJudgeRoles = R"(
    select r.oid, substr(r.rolname, length('@schema@_') + 1), r.rolname::text
    from pg_catalog.pg_roles r
    where r.rolname in ('@schema@_producer', '@schema@_publisher', '@schema@_relay',
                        '@schema@_consumer', '@schema@_reader'))";

// The login that asks, as a relay.
inline constexpr auto kJudgeLogin = R"(
    select r.oid, 'relay', r.rolname::text
    from pg_catalog.pg_roles r where r.rolname = current_user)";

inline constexpr auto kMissingRoles = R"(
select '@schema@_' || n
from unnest(array['producer', 'publisher', 'relay', 'consumer', 'reader']) n
where not exists (select from pg_catalog.pg_roles r where r.rolname = '@schema@_' || n))";

// A login that may write as a relay does, in whatever part, is taken for one.
inline constexpr auto kWrites = R"(
select has_table_privilege('@schema@.cursor', 'INSERT')
    or has_table_privilege('@schema@.slot', 'UPDATE')
    or has_table_privilege('@schema@.relay', 'INSERT')
    or exists (select from pg_catalog.pg_roles r
               where r.rolname = '@schema@_relay' and pg_has_role(current_user, r.oid, 'member')))";

}  // namespace sagaz::inline v0::app
