#!/usr/bin/env bash
# Compiles sched_ext schedulers as objects into FOLDER, and the types of a kernel that has sched_ext into
# FOLDER/vmlinux.btf, for `bpftime verify FOLDER/SCHEDULER.bpf.o --btf FOLDER/vmlinux.btf` or
#
#     cargo run --release -p bpftime-verifier --example corpus -- FOLDER --btf FOLDER/vmlinux.btf --all
#
# $SCX is a checkout of sched-ext/scx, which has the schedulers in Rust's folders and the headers. With
# $LINUX_TREE, a tree of Linux's sources, the schedulers of its tools/sched_ext and the programs of its
# selftests/sched_ext are compiled too. Headers of a libbpf that is not older than 1.3 are in $LIBBPF, as
# scripts/libbpf.sh makes it. What does not compile is left out and named.
set -euo pipefail
folder=$(realpath -m "${1:?usage: SCX=CHECKOUT LIBBPF=FOLDER sched-ext.sh FOLDER}")
scx=$(realpath "${SCX:?SCX is the checkout of sched-ext/scx}")
libbpf=$(realpath "${LIBBPF:?LIBBPF is where scripts/libbpf.sh built one}")
tree=${LINUX_TREE:+$(realpath "$LINUX_TREE")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf 'sched-ext: %s\n' "$*" >&2; }

PATH=$PATH:/usr/sbin:/sbin
for tool in clang-19 cc llvm-objcopy-19; do
  command -v "$tool" >/dev/null || { say "needs $tool (scripts/install-deps.sh)"; exit 1; }
done
# The newest kernel's that the checkout has.
types=$(find "$scx/scheds/vmlinux/arch/x86" -name 'vmlinux-v*.h' | sort -V | tail -n 1)
[ -n "$types" ] || { say "no types of x86 kernels in $scx/scheds/vmlinux"; exit 1; }
cc -O1 -I"$libbpf/include" -o "$work/link_objects" "$(dirname "$0")/../tests/c/link_objects.c" "$libbpf/lib/libbpf.a" -lelf -lz
include=$work/include
mkdir -p "$include/gnu" "$folder"
cp "$types" "$include/vmlinux.h"
: >"$include/gnu/stubs.h"

# All types of the header, and its declarations of kernel functions, as BTF: there is a variable of each
# structure and a use of each function, for what is not used has no BTF.
{
  echo '#include "vmlinux.h"'
  sed -n 's/^\(struct\|union\) \([A-Za-z_0-9]*\) {.*/\1 \2 variable_of_\1_\2;/p' "$include/vmlinux.h"
  sed -n 's/^enum \([A-Za-z_0-9]*\) {.*/enum \1 variable_of_enum_\1;/p' "$include/vmlinux.h"
  sed -n 's/^} \([A-Za-z_0-9]*_t\);/\1 variable_of_\1;/p' "$include/vmlinux.h"
  sed -n 's/^typedef .*[ (*]\(btf_trace_[A-Za-z_0-9]*\))(.*/\1 variable_of_\1;/p' "$include/vmlinux.h"
  # What headers of types do not have: functions that schedulers attach to, and variables of each processor's own.
  cat <<'END'
#define PERCPU __attribute__((section(".data..percpu")))
struct rq runqueues PERCPU;
struct cpufreq_policy *cpufreq_cpu_data PERCPU;
unsigned long hw_pressure PERCPU;
int bpf_scx_reg(void *kdata, struct bpf_link *link);
void bpf_scx_unreg(void *kdata, struct bpf_link *link);
void scx_tick(struct rq *rq);
int bpf_iter_task(struct bpf_iter_meta *meta, struct task_struct *task);
int __futex_wait(u32 *uaddr, unsigned int flags, u32 val, struct hrtimer_sleeper *to, u32 bitset);
int futex_wait_multiple(struct futex_vector *vs, unsigned int count, struct hrtimer_sleeper *to);
int futex_wait_requeue_pi(u32 *uaddr, unsigned int flags, u32 val, ktime_t *abs_time, u32 bitset, u32 *uaddr2);
int futex_wake(u32 *uaddr, unsigned int flags, int nr_wake, u32 bitset);
int futex_wake_op(u32 *uaddr1, unsigned int flags, u32 *uaddr2, int nr_wake, int nr_wake2, int op);
int futex_lock_pi(u32 *uaddr, unsigned int flags, ktime_t *time, int trylock);
int futex_unlock_pi(u32 *uaddr, unsigned int flags);
ssize_t cpuset_write_resmask(struct kernfs_open_file *of, char *buf, size_t nbytes, loff_t off);
END
  echo '__attribute__((used)) static void *kernel_functions[] = {'
  for function in bpf_scx_reg bpf_scx_unreg scx_tick bpf_iter_task __futex_wait \
    futex_wait_multiple futex_wait_requeue_pi futex_wake futex_wake_op \
    futex_lock_pi futex_unlock_pi cpuset_write_resmask; do
    echo "(void *)$function,"
  done
  sed -n -e 's/__attribute__((address_space(1)))//g' \
    -e 's/^extern [^(]*[ *]\([A-Za-z_0-9]*\)(.*) __weak __ksym;$/(void *)\1,/p' "$include/vmlinux.h"
  echo '};'
} >"$work/types.c"
clang-19 -g -O2 -target bpf -Wno-everything -D__ksym= -D__weak= -I"$include" \
  -c "$work/types.c" -o "$work/types.o"
llvm-objcopy-19 --dump-section .BTF="$folder/vmlinux.btf" "$work/types.o"
say "types of $(basename "$types" .h), $(stat -c %s "$folder/vmlinux.btf") bytes"

flags=(-g -O2 -target bpf -mcpu=v3 -mlittle-endian -D__TARGET_ARCH_x86 -D__SCX_TARGET_ARCH_x86
  -I"$include" -I"$scx/scheds/include" -I"$scx/scheds/include/bpf-compat" -I"$libbpf/include"
  -I/usr/include/x86_64-linux-gnu -Wno-everything)
left_out=
# compile SOURCE OBJECT [FLAG...]
compile() {
  local source=$1 object=$2
  shift 2
  timeout 120 clang-19 "$@" "${flags[@]}" -c "$source" -o "$object" 2>"$object.log" && rm -f "$object.log"
}

# A scheduler of several sources is linked of one object each, as its build script says.
for script in "$scx"/scheds/rust/*/build.rs "$scx"/scheds/experimental/*/build.rs; do
  scheduler=$(dirname "$script")
  name=$(basename "$scheduler")
  main=$(sed -n 's/.*enable_skel("\([^"]*\)".*/\1/p' "$script" | head -n 1)
  [ -n "$main" ] || continue
  sources=("$main")
  while read -r source; do sources+=("$source"); done < <(sed -n 's/^[^/]*add_source("\([^"]*\)").*/\1/p' "$script")
  mkdir -p "$work/$name"
  objects=()
  failed=
  for source in "${sources[@]}"; do
    object=$work/$name/$(echo "$source" | tr / _).o
    # The build scripts find the common library's sources beside the scheduler's.
    path=$scheduler/$source
    [ -e "$path" ] || path=$scx/lib/${source#*lib/}
    if compile "$path" "$object" -I"$scheduler/src/bpf" -I"$scx/lib"; then objects+=("$object"); else failed+=" $source"; fi
  done
  if [ -n "$failed" ]; then
    left_out+=" $name ($failed )"
    for log in "$work/$name"/*.log; do [ "${VERBOSE:-}" ] && head -n 5 "$log" >&2; done
  elif [ ${#objects[@]} = 1 ]; then
    cp "${objects[0]}" "$folder/$name.bpf.o"
  elif ! "$work/link_objects" "$folder/$name.bpf.o" "${objects[@]}" 2>"$work/link.log"; then
    left_out+=" $name (not linked: $(tail -n 1 "$work/link.log"))"
    rm -f "$folder/$name.bpf.o"
  fi
done

if [ -n "$tree" ]; then
  for source in "$tree"/tools/sched_ext/*.bpf.c "$tree"/tools/testing/selftests/sched_ext/*.bpf.c; do
    object=$folder/$(basename "$(dirname "$source")")-$(basename "$source" .c).o
    compile "$source" "$object" -I"$tree/tools/sched_ext/include" -I"$tree/tools/sched_ext/include/bpf-compat" \
      -I"$tree/tools/testing/selftests/sched_ext/include" \
      || { left_out+=" $(basename "$source")"; [ "${VERBOSE:-}" ] && head -n 5 "$object.log" >&2; rm -f "$object" "$object.log"; }
  done
fi
say "$(find "$folder" -name '*.bpf.o' | wc -l) objects in $folder"
[ -z "$left_out" ] || say "left out:$left_out"
