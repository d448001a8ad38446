"""Mutation testing of bounds, scales, specification and verdicts.

Usage: python3 scripts/mutants/run.py SEED COUNT WORK [SLOWEST [lib]]

Copies the crate's sources into WORK, plants COUNT mutants chosen by SEED (see src/main.rs), drops those
that don't compile, and builds the tests once. A first run of every test, without a mutant, tells how long it
takes and which mutants it comes by; then each mutant meets the quick tests that come by it, the quickest first,
until one fails, ends otherwise, or takes ten times as long. What no test comes by has survived. Tests that take
longer than SLOWEST seconds without a mutant (default 5) are not asked; with `lib` none of the suite is, which halves the build.

Times are processor times of one thread: a busy machine changes nothing. Prints one line a mutant and keeps
it in WORK/results.tsv; a run that was ended goes on where it was, with the same mutants.
"""

import concurrent.futures
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

seed, count, work = sys.argv[1], sys.argv[2], os.path.abspath(sys.argv[3])
SLOWEST = float(sys.argv[4]) if len(sys.argv) > 4 else 5.0
TARGETS = ["--lib"] if sys.argv[5:] == ["lib"] else ["--lib", "--test", "suite"]
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
tool, copy, target = (os.path.join(work, d) for d in ("tool", "copy", "target"))
planted, reached, results = (os.path.join(work, f) for f in ("planted.tsv", "reached.tsv", "results.tsv"))
# tests of the modules concerned; those of whole nets are too slow to be asked about every mutant
LIB = ["num::", "ops::", "bounds::", "scale::", "spec::", "certificate::", "chain::", "link::", "gate::"]
SUITE = ["laws::", "exact::", "chain::", "gate::", "gradients::"]


def cargo(*args):
    return subprocess.run(["cargo", *args, "--locked", "--target-dir", target, "--message-format=json"], cwd=copy,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def messages(run):
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def plant(skip):
    """A fresh copy with mutants; their list."""
    shutil.rmtree(os.path.join(copy, "src"), ignore_errors=True)
    for name in ("src", "templates", "docs", "models", "tests"):
        shutil.copytree(os.path.join(root, name), os.path.join(copy, name), dirs_exist_ok=True)
    for name in ("Cargo.lock", "build.rs"):
        shutil.copy(os.path.join(root, name), copy)
    # quick to build rather than quick to run
    with open(os.path.join(root, "Cargo.toml")) as f:
        text = f.read().replace("opt-level = 2", "opt-level = 0")
    with open(os.path.join(copy, "Cargo.toml"), "w") as f:
        f.write(text)
    with open(os.path.join(work, "skip"), "w") as f:
        f.write("\n".join(sorted(skip)) + "\n")
    args = [os.path.join(tool, "release/mutants"), copy, seed, count, os.path.join(work, "skip")]
    lines = subprocess.run(args, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return lines[0], [line.split("\t") for line in lines[1:]]


def compiling():
    """Plants until all mutants compile; returns the list."""
    skip = set()
    while True:
        head, sites = plant(skip)
        names = {s[0]: s[5] for s in sites}
        bad = set()
        run = cargo("check", "--release", "--lib")
        for m in messages(run):
            if m.get("reason") != "compiler-message" or m["message"]["level"] != "error":
                continue
            for span in m["message"]["spans"]:
                text = "".join(t["text"] for t in span["text"])
                bad |= {names[k] for k in re.findall(r"mutant::\w+\((\d+)", text) if k in names}
        if run.returncode == 0:
            return head, sites
        if not bad:
            sys.exit("the copy doesn't compile, and no mutant is to blame")
        skip |= bad
        print(f"{len(skip)} left out, as they don't compile", flush=True)


def programs():
    """The library's tests and the suite, with the tests to run of each."""
    built = cargo("test", "--release", *TARGETS, "--no-run")
    if built.returncode:
        sys.exit("the tests don't build")
    for m in messages(built):
        if m.get("reason") == "compiler-artifact" and m["profile"]["test"] and m.get("executable"):
            prefixes = LIB if m["target"]["kind"][0] == "lib" else SUITE
            listed = subprocess.run([m["executable"], "--list", "--format", "terse"], stdout=subprocess.PIPE, text=True)
            names = [line.removesuffix(": test") for line in listed.stdout.splitlines() if line.endswith(": test")]
            yield m["executable"], [n for n in names if n.startswith(tuple(prefixes))]


def test(program, name, limit, **env):
    """Runs one test; why it failed, if it did, and its time."""
    def bound():
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    # generated cases are the same every time, as in scripts/test.sh: what fails fails by the mutant
    env = dict(os.environ, RAYON_NUM_THREADS="1", RUST_BACKTRACE="0", PROPTEST_RNG_SEED="20261121", **env)
    run = subprocess.Popen([program, "--exact", name, "--test-threads=1"], cwd=copy, env=env, preexec_fn=bound,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    why = {0: None, 101: "", -24: " (time)", -9: " (time)"}.get(run.returncode, f" (status {run.returncode})")
    return why, usage.ru_utime + usage.ru_stime


os.makedirs(copy, exist_ok=True)
subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", tool], check=True,
               cwd=os.path.join(root, "scripts/mutants"))
if not os.path.exists(planted):
    head, sites = compiling()
    with open(planted, "w") as out:
        out.write("\n".join([head, *("\t".join(s) for s in sites)]) + "\n")
head, *sites = open(planted).read().splitlines()
print(head, flush=True)
sites = [s.split("\t") for s in sites]

tests = {n: p for p, names in programs() for n in names}
known = {}
if os.path.exists(reached):
    known = {t: (float(s), set(ks.split())) for t, s, ks in (line.rstrip("\n").split("\t") for line in open(reached))}


def reach(name):
    """How long a test takes without a mutant, and which it comes by."""
    with tempfile.NamedTemporaryFile("r", dir=work) as trace:
        why, seconds = test(tests[name], name, SLOWEST, MUTANT_TRACE=trace.name)
        if why is None or why == " (time)":
            return name, float("inf") if why else seconds, set(trace.read().split())
        sys.exit(f"without a mutant, {name} fails{why}")


everyone = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
for name, seconds, met in everyone.map(reach, [n for n in tests if n not in known]):
    if seconds == float("inf"):
        print(f"{name} takes too long, and is left out", flush=True)
    known[name] = (seconds, met)
    with open(reached, "a") as out:
        out.write(f"{name}\t{seconds:.2f}\t{' '.join(sorted(met, key=int))}\n")
known = {n: r for n, r in known.items() if r[0] <= SLOWEST}
print(f"{len(known)} tests, {sum(s for s, _ in known.values()):.0f} s without a mutant", flush=True)

done = {}
if os.path.exists(results):
    done = dict(line.rstrip("\n").split("\t")[:2] for line in open(results))


def meet(site):
    """What becomes of a mutant."""
    coming_by = sorted((s, n) for n, (s, ks) in known.items() if site[0] in ks and n in tests)
    for seconds, n in coming_by:
        why, _ = test(tests[n], n, 10 * seconds + 2, MUTANT=site[0])
        if why is not None:
            return site, f"caught by {n}{why}"
    return site, f"survived {len(coming_by)} tests"


for (k, file, line, function, what, name), found in everyone.map(meet, [s for s in sites if s[5] not in done]):
    done[name] = found
    with open(results, "a") as out:
        out.write(f"{name}\t{found}\t{file}:{line} {function}: {what}\n")
    print(k, f"{file}:{line}", function, what, found, sep="\t", flush=True)
caught = sum(v.startswith("caught") for v in done.values())
print(f"{caught} of {len(done)} caught ({100 * caught / len(done):.1f} %), seed {seed}")
