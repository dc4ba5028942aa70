import sys, tempfile
from benchmarks import wave
from benchmarks.harness import table
from baton.prove.local_postgres import local_postgres
import time, os
real=os.kill
def kill(pid, sig):
    wave.T0=time.time(); real(pid, sig)
wave.os.kill=kill
old=wave._claims
def claims(fleet):
    pos=0; out=[]; t0=wave.T0
    while page:=fleet.store.events(pos,5000):
        pos=page[-1].seq
        out+=[(e.wall/1e6-t0, e.at/1e6-t0, e.type, e.worker_id) for e in page if e.wall/1e6>t0]
    from collections import defaultdict
    d=defaultdict(list)
    for w,a,t,k in out: d[(t,k, round(w,4) if t=="claimed" else 0)].append((w))
    for k,v in sorted(d.items(), key=lambda i:i[1]): print(k,len(v),"wall %.3f..%.3f"%(min(v),max(v)))
    return old(fleet)
wave._claims=claims
if sys.argv[1] == "pg":
    with local_postgres() as url: print(table(wave._wave("PostgreSQL", url)))
else:
    with tempfile.TemporaryDirectory() as d: print(table(wave._wave("SQLite", f"sqlite:///{d}/fleet.db")))
