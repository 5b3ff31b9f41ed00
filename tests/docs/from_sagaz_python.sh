#!/usr/bin/env bash
# Follows docs/guides/from-sagaz-python.md over tables of the original's form, then looks at what it
# moved: the events go out in their order, and a moved mark makes a repeat a duplicate.
source "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

chaos_begin docs_python
pg_start
export DATABASE_URL=$pg_url SAGAZ_ADMIN_LISTEN=127.0.0.1:0
"$SAGAZ" migrate --no-roles >/dev/null
sql "CREATE TABLE saga_outbox (event_id uuid PRIMARY KEY, saga_id varchar(255) NOT NULL,
         aggregate_type varchar(255) NOT NULL, aggregate_id varchar(255) NOT NULL,
         event_type varchar(255) NOT NULL, payload jsonb NOT NULL, headers jsonb NOT NULL,
         status varchar(50) NOT NULL, created_at timestamptz NOT NULL, claimed_at timestamptz,
         sent_at timestamptz, retry_count integer NOT NULL DEFAULT 0, last_error text,
         worker_id varchar(255));
     CREATE TABLE consumer_inbox (event_id uuid PRIMARY KEY, consumer_name varchar(255) NOT NULL,
         source_topic varchar(255) NOT NULL, event_type varchar(255) NOT NULL,
         payload jsonb NOT NULL, consumed_at timestamptz NOT NULL DEFAULT now(),
         processing_duration_ms integer);
     INSERT INTO saga_outbox (event_id, saga_id, aggregate_type, aggregate_id, event_type, payload,
                              headers, status, created_at)
     SELECT ('00000000-0000-4000-8000-00000000000' || 9 - n)::uuid, 's' || n, 'order', 'o1',
            'Order_Placed', jsonb_build_object('n', n), '{\"trace_id\": \"t\"}', status,
            now() + n * interval '1 s'
     FROM unnest(ARRAY['pending', 'claimed', 'sent', 'failed', 'dead_letter'])
          WITH ORDINALITY AS t (status, n);
     INSERT INTO consumer_inbox
     SELECT ('00000000-0000-4000-8000-0000000000a' || n)::uuid, 'billing', 'orders', 'OrderPlaced',
            '{\"total\":12}', now(), CASE WHEN n < 3 THEN 7 END
     FROM generate_series(1, 3) n" >/dev/null

mkdir "$work/tree"
python3 -B "$chaos_root/tests/docs/follow.py" "$chaos_root/docs/guides/from-sagaz-python.md" \
    "$work/tree" || die "the guide cannot be followed"

left=$(sql "SELECT string_agg(status, ' ' ORDER BY status) FROM saga_outbox")
[ "$left" = "dead_letter sent" ] ||
    die "rows were moved that should stay"
out=$("$SAGAZ" relay --broker stdout: --until-drained --timeout 60s 2>/dev/null | grep '^{') ||
    die "the relay did not drain"
seen=$(grep -o '"payload":"[^}]*}' <<<"$out" | tr -dc '0-9\n' | tr '\n' ' ')
[ "$seen" = "1 2 4 " ] || die "events out of order: $seen"
[ "$(grep -c '"topic":"events.order.placed","key":"o1".*\["saga_id","s' <<<"$out")" = 3 ] ||
    die "topic, key or headers are wrong: $out"
mark() { sql "SELECT sagaz.inbox_mark('billing', '00000000-0000-4000-8000-0000000000$1', 'orders',
                  'OrderPlaced', '$2'::text)"; }
[ "$(mark a1 '{"total": 12}')" = duplicate ] || die "a moved mark is not known"
[ "$(mark a2 '{"total":12}')" = parked ] || die "other bytes under a moved mark are not parked"
[ "$(mark a3 '{"total": 12}')" = processed ] || die "a mark without an effect was moved"
chaos_end
