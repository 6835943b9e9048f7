#include "ssmsweep/sweep/comm.h"
