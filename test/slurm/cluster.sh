#!/usr/bin/env bash
# cluster.sh FOLDER: starts a SLURM cluster of this one machine with all its files below FOLDER, prints "ready", and stops it when its
# standard input ends. For tests: needs root and Debian's slurm-wlm and munge; nothing of the system's own configuration is touched.
set -euo pipefail
folder=$1
mkdir -p "$folder"/{spool,state,log,munge}
chmod 755 "$folder"
host=$(hostname -s)
free_port() { node -e 'const s=require("net").createServer().listen(0,()=>{console.log(s.address().port);s.close()})'; }
socket=$folder/munge/socket

# munged refuses to run as root unless it is told, and wants its folders closed to others.
dd if=/dev/urandom of="$folder/munge/key" bs=128 count=1 status=none
chmod 600 "$folder/munge/key"
munged --force --foreground --socket="$socket" --key-file="$folder/munge/key" --log-file="$folder/munge/log" \
  --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" 2>"$folder/log/munged" &
munged=$!

cat > "$folder/slurm.conf" <<CONF
ClusterName=cocoop
SlurmctldHost=$host
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=10
MinJobAge=10
NodeName=$host CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$folder/slurm.conf
for _ in $(seq 100); do [ -S "$socket" ] && break; sleep 0.1; done
slurmctld -D -c 2>"$folder/log/slurmctld.err" &
slurmctld=$!
slurmd -D -c 2>"$folder/log/slurmd.err" &
slurmd=$!
trap 'kill $slurmd $slurmctld $munged 2>/dev/null || true; wait || true' EXIT
for _ in $(seq 300); do
  [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ] && break
  for pid in $munged $slurmctld $slurmd; do
    kill -0 "$pid" 2>/dev/null || { tail -n 3 "$folder"/log/* >&2; exit 1; }
  done
  sleep 0.1
done
[ "$(sinfo --noheader --format=%t)" = idle ] || { tail -n 3 "$folder"/log/* >&2; exit 1; }
echo ready
cat >/dev/null || true
