# SPDX-License-Identifier: Apache-2.0
"""How slurm/launch.sh starts the ranks, with a Slurm and an MPI that only answer: tests/slurm has real ones."""
import os
import stat

import harness

SRUN = """#!/bin/sh
case "$*" in
*--mpi=list*) echo 'MPI plugin types are...'; echo '  none pmi2 pmix' ;;
*--mpi=%s*) echo 'srun: error: cannot load the plugin' >&2; exit 1 ;;
*) test "$SLURM_EXPORT_ENV" = ALL ;;
esac
"""
OMPI_INFO = "#!/bin/sh\necho 'ompi:version:full:4.1.4'\nprintf 'mca:pmix:%s:version\\n'\n"
MPIRUN = "#!/bin/sh\necho '%s'\n"
OPEN_MPI, HYDRA = "mpirun (Open MPI) 4.1.4", "HYDRA build details:"
SHOW = '. "$1/slurm/launch.sh" && prepare /bin/true >said && echo "$SLURM_EXPORT_ENV ${launch[*]}"'
BY_OPEN_MPI = "mpirun --map-by slot:PE=2 --bind-to core -x OMP_NUM_THREADS"
SLURM = {"SLURM_CPUS_PER_TASK": "2", "SLURM_NTASKS": "6", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "job", "SLURM_EXPORT_ENV": "NONE",
         "SSMSWEEP_LAUNCHER": ""}
CASES = [    # which of srun's interfaces does not work, Open MPI's component (empty: another MPI), mpirun, what starts the ranks
    ("nothing", "ext3x", OPEN_MPI, "srun --mpi=pmix --cpus-per-task=2 --cpu-bind=cores"),
    ("nothing", "s2:", OPEN_MPI, "srun --mpi=pmi2 --cpus-per-task=2 --cpu-bind=cores"),
    ("pmix", "ext3x", OPEN_MPI, BY_OPEN_MPI),
    ("pmi2", "s2:", OPEN_MPI, BY_OPEN_MPI),
    ("nothing", "", OPEN_MPI, BY_OPEN_MPI),
    ("nothing", "", HYDRA, "mpirun -n 6"),
]


def main():
    checks = harness.Checks()
    for broken, component, mpirun, expected in CASES:
        with harness.Workplace() as folder:
            for name, text in (("srun", SRUN % broken), ("ompi_info", OMPI_INFO % component), ("mpirun", MPIRUN % mpirun)):
                with open(os.path.join(folder, name), "w") as f:
                    f.write(text)
                os.chmod(f.name, stat.S_IRWXU)
            status, out, err = harness.execute(["bash", "-c", SHOW, "bash", harness.SOURCE], folder,
                                               dict(SLURM, PATH=folder + ":" + os.environ["PATH"]))
            what = "%s does not work, Open MPI has '%s', %s" % (broken, component, mpirun)
            told = "does not work here" in err if broken != "nothing" else not err
            checks.check(status == 0 and out == "ALL %s\n" % expected and told, what, "%s\n%s\n%s" % (status, out, err))
    checks.finish()


main()
