"""`python -m exactrnn.distributed program.py`: workers are the ranks of MPI."""

from exactrnn.distributed import mpi

if __name__ == "__main__":
    mpi.main()
