"""Mutation testing of bounds, scales, specification and verdicts.

Usage: python3 scripts/mutants/run.py SEED COUNT WORK

Copies the crate's sources into WORK, plants COUNT mutants chosen by SEED (see src/main.rs), drops those
that don't compile, builds the tests once, and runs them for each mutant: the library's own tests of the
modules concerned, then the laws. A mutant is caught when a test fails, the program ends otherwise, or takes
ten times as long. Prints and keeps (WORK/results.tsv, the last line of a
mutant counts) one line a mutant; it goes on where it was ended.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

seed, count, work = sys.argv[1], sys.argv[2], os.path.abspath(sys.argv[3])
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
tool, copy, target = (os.path.join(work, d) for d in ("tool", "copy", "target"))
LIB = ["num::", "ops::", "bounds::", "scale::", "spec::", "certificate::", "chain::", "link::"]
SUITE = ["laws::", "exact::", "chain::"]


def cargo(*args, cwd):
    return subprocess.run(["cargo", *args, "--message-format=json"], cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)


def messages(run):
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def plant(skip):
    """A fresh copy with mutants; their list."""
    shutil.rmtree(os.path.join(copy, "src"), ignore_errors=True)
    for name in ("src", "templates", "docs", "models", "tests"):
        shutil.copytree(os.path.join(root, name), os.path.join(copy, name), dirs_exist_ok=True)
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(os.path.join(root, name), copy)
    # quick to build rather than quick to run
    with open(os.path.join(copy, "Cargo.toml")) as f:
        text = f.read().replace("opt-level = 2", "opt-level = 1")
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
        run = cargo("check", "--release", "--lib", "--target-dir", target, cwd=copy)
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


def fails(program, names, mutant, limit):
    """The first test that fails with a mutant, or None."""
    env = dict(os.environ, MUTANT=mutant, RUST_BACKTRACE="0")
    run = subprocess.Popen([program, *names], cwd=copy, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           text=True)
    begun = time.time()
    os.set_blocking(run.stdout.fileno(), False)
    seen = ""
    while True:
        seen += run.stdout.read() or ""
        failed = re.search(r"test (\S+) \.\.\. FAILED", seen)
        if failed:
            run.kill()
            return failed.group(1)
        if run.poll() is not None:
            return None if run.returncode == 0 else f"exit {run.returncode}"
        if time.time() - begun > limit:
            run.kill()
            return "time"
        time.sleep(0.1)


os.makedirs(copy, exist_ok=True)
subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", tool], check=True,
               cwd=os.path.join(root, "scripts/mutants"))
head, sites = compiling()
print(head, flush=True)
results = os.path.join(work, "results.tsv")
done = {}
if os.path.exists(results):
    done = dict(line.rstrip("\n").split("\t")[:2] for line in open(results))
# what the library's own tests don't catch is left to the laws
for kind, names, args in (("lib", LIB, ["--lib"]), ("test", SUITE, ["--test", "suite"])):
    built = cargo("test", "--release", *args, "--no-run", "--target-dir", target, cwd=copy)
    programs = [m["executable"] for m in messages(built) if m.get("reason") == "compiler-artifact"
                and m["profile"]["test"] and m.get("executable") and m["target"]["kind"][0] == kind]
    begun = time.time()
    found = fails(programs[0], names, "0", 3600)
    assert found is None, f"without a mutant, {found} fails"
    limit = 10 * (time.time() - begun) + 10
    print(f"{kind}: {(limit - 10) / 10:.0f} s without a mutant", flush=True)
    for k, file, line, function, what, name in sites:
        if done.get(name, "").startswith("caught") or done.get(name) == f"survived {kind}":
            continue
        found = fails(programs[0], names, k, limit)
        done[name] = f"caught by {found}" if found else f"survived {kind}"
        with open(results, "a") as out:
            out.write(f"{name}\t{done[name]}\t{file}:{line} {function}: {what}\n")
        print(k, f"{file}:{line}", function, what, done[name], sep="\t", flush=True)
caught = sum(v.startswith("caught") for v in done.values())
print(f"{caught} of {len(done)} caught ({100 * caught / len(done):.1f} %), seed {seed}")
