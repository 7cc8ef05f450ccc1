! scopes.f90 - procedures of a Fortran module.
!
! Runs in: programs under test.
!
! SPDX-License-Identifier: Apache-2.0
module grid
contains
  subroutine relax(n)
    integer, intent(inout) :: n
    n = n + 1
    print *, n
  end subroutine
end module

program main
  use grid
  integer :: n
  n = 1
  call relax(n)
end program
