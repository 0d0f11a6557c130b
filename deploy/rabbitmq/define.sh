#!/bin/bash
# Starts RabbitMQ; and once in a container's life, as soon as NODES nodes run, has it import the definitions and the passwords:
#
#   define.sh NODES
#
# Not at boot, as RabbitMQ could by itself: it may fail to start when they name a stream that it has already (rabbitmq-server
# issue 14772). And not before the whole cluster is there: queues get their members, and the history its copies, from the
# nodes that run; and what coordinates streams, begun on one node alone, may be begun a second time by another that joins.
# Afterwards it has this node's tables written: RabbitMQ itself leaves the names of new queues' Raft members in memory for
# half a second or more, and after a crash before that the history is down for good.
#
# The first file takes the passwords away and the second gives them: who comes in between is refused, and tries again.
set -u
nodes=$1
imported=/tmp/imported # the health check waits for it

tool() { gosu rabbitmq rabbitmqctl -q "$@"; }

listens() { (exec 3<>/dev/tcp/127.0.0.1/5672) 2>/dev/null; }

# All, whatever comes of the others: without the passwords nobody could log in. The exchanges come before the permissions for
# their topics: RabbitMQ with Khepri, the default from 4.2 on, can't make an exchange that something is permitted for already,
# and may import in the wrong order (rabbitmq-server pull request 14407).
import_files() {
  local file failed=0 first=/tmp/without-topic-permissions.json
  sed '/"topic_permissions": \[/,/^  \],/d' /etc/shop/definitions/10-definitions.json >"$first"
  for file in "$first" /etc/shop/definitions/*; do
    tool import_definitions "$file" || failed=1
  done
  return "$failed"
}

import() {
  until listens; do sleep 0.5; done
  until tool await_online_nodes "$nodes"; do sleep 3; done
  until import_files; do sleep 3; done
  until tool eval '[ok = dets:sync(Table) || Table <- dets:all()].' >/dev/null; do sleep 3; done
  touch "$imported"
}

[[ -e $imported ]] || import &
exec docker-entrypoint.sh rabbitmq-server
