#!/bin/bash
# A node of the cluster. Queues grow to every node by themselves (cluster.conf); the history, which is a stream, doesn't. So
# each node takes a copy of it as soon as it is there.
set -u
PATH=$PATH:/usr/lib/rabbitmq/bin # where some packages have the tool

copy_history() {
  local said
  until said=$(gosu rabbitmq rabbitmq-streams -q add_replica shop.history "rabbit@$HOSTNAME" 2>&1) ||
    [[ $said == *already* ]]; do
    sleep 3
  done
}

copy_history &
exec docker-entrypoint.sh rabbitmq-server
