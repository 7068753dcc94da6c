//! One fault a row, and one test a row.

/// One fault, what each says of it, and who holds what after: a test by this name.
macro_rules! rows {
    ($config:expr, $pause:expr; $($name:ident: $fault:expr, $places:expr, $holders:expr;)*) => {
        /// Those that are struck here.
        pub(crate) const FAULTS: &[Fault] = &[$($fault,)*];

        #[test]
        fn no_fault_is_there_twice() {
            let names: std::collections::BTreeSet<_> = FAULTS.iter().map(|fault| crate::name(*fault)).collect();
            assert_eq!(names.len(), FAULTS.len());
        }

        $(
            #[test]
            fn $name() {
                let row: Row = ($fault, $places, $holders);
                undisturbed(|| one(&row, $config, $pause));
            }
        )*
    };
}

/// Clients are asked whether a network works.
pub(crate) mod where_somebody_is_asked {
    use crate::*;

    rows! {
        brisk, BRISK;
        cut_a_net1: Cut("a-net1"), &[("net1", CABLE_A)], ALL_B;
        cut_a_net2: Cut("a-net2"), &[("net2", CABLE_A)], ALL_B;
        cut_b_net1: Cut("b-net1"), &[("net1", CABLE_B)], ALL_A;
        cut_b_net2: Cut("b-net2"), &[("net2", CABLE_B)], ALL_A;
        silent_a_net1: Silent("a-net1"), &[("net1", AT_A)], ALL_B;
        silent_a_net2: Silent("a-net2"), &[("net2", AT_A)], ALL_B;
        silent_b_net1: Silent("b-net1"), &[("net1", AT_B)], ALL_A;
        silent_b_net2: Silent("b-net2"), &[("net2", AT_B)], ALL_A;
        switch_off_net1: SwitchOff("net1"), &[("net1", NETWORK)], HOME;
        switch_off_net2: SwitchOff("net2"), &[("net2", NETWORK)], HOME;
        switch_hangs_net1: SwitchHangs("net1"), &[("net1", NETWORK)], HOME;
        switch_hangs_net2: SwitchHangs("net2"), &[("net2", NETWORK)], HOME;
        cut_xlink: Cut("xlink"), &[], HOME;
        silent_xlink: Silent("xlink"), &[], HOME;
        nic_down_a_net1: NicDown(A, "net1"), &[("net1", PORT_A)], ALL_B;
        nic_down_b_net2: NicDown(B, "net2"), &[("net2", PORT_B)], ALL_A;
        nic_down_b_xlink: NicDown(B, "xlink"), &[], HOME;
        mute_a_net1: Mute(A, "net1"), &[("net1", TO_B_LOST)], HOME;
        mute_b_net1: Mute(B, "net1"), &[("net1", TO_A_LOST)], HOME;
        mute_a_net2: Mute(A, "net2"), &[("net2", TO_B_LOST)], HOME;
        deaf_a_net1: Deaf(A, "net1"), &[("net1", AT_A)], ALL_B;
        deaf_b_net2: Deaf(B, "net2"), &[("net2", AT_B)], ALL_A;
        cut_a_net1_and_cut_a_net2: Both(&Cut("a-net1"), &Cut("a-net2")), &[("net1", CABLE_A), ("net2", CABLE_A)], ALL_B;
        cut_b_net1_and_cut_b_net2: Both(&Cut("b-net1"), &Cut("b-net2")), &[("net1", CABLE_B), ("net2", CABLE_B)], ALL_A;
        cut_a_net1_and_cut_b_net2: Both(&Cut("a-net1"), &Cut("b-net2")), &[("net1", CABLE_A), ("net2", CABLE_B)], SWAPPED;
        cut_a_net1_and_cut_b_net1: Both(&Cut("a-net1"), &Cut("b-net1")), &[("net1", NETWORK)], HOME;
        switch_off_net1_and_switch_off_net2: Both(&SwitchOff("net1"), &SwitchOff("net2")), &[("net1", NETWORK), ("net2", NETWORK)], HOME;
        cut_a_net1_and_cut_xlink: Both(&Cut("a-net1"), &Cut("xlink")), &[("net1", CABLE_A)], ALL_B;
        switch_hangs_net1_and_mute_a_net2: Both(&SwitchHangs("net1"), &Mute(A, "net2")), &[("net1", NETWORK), ("net2", TO_B_LOST)], HOME;
        cut_a_net1_and_cut_a_net2_and_cut_xlink: Both(&Cut("a-net1"), &Both(&Cut("a-net2"), &Cut("xlink"))), &[], ALL_B;
        mute_a_net1_and_mute_a_net2_and_silent_xlink: Both(&Mute(A, "net1"), &Both(&Mute(A, "net2"), &Silent("xlink"))), &[], ALL_B;
        switch_hangs_net1_and_switch_hangs_net2_and_silent_xlink: Both(&SwitchHangs("net1"), &Both(&SwitchHangs("net2"), &Silent("xlink"))), &[], NOBODY;
        stall_a: Stall(A), &[], [[true, false], [true, true]];
        kill_a: Kill(A), &[], [[true, false], [true, true]];
        power_off_a: PowerOff(A), &[], ALL_B;
        power_off_b: PowerOff(B), &[], ALL_A;
        stop_a: Stop(A), &[], ALL_B;
        differ_b: Differ(B), &[], [[true, false], [false, false]];
        bad_a: Bad(A), &[], ALL_B;
        bad_a_and_bad_b: Both(&Bad(A), &Bad(B)), &[], HOME;
        line: Line, &[], HOME;
    }
}

/// Nobody is configured to be asked: own facts, and whoever is found. Own faults move the groups, a silent network does not.
mod where_nothing_is_configured {
    use crate::*;

    rows! {
        untouched, DEFAULT_PAUSE;
        cut_a_net1: Cut("a-net1"), &[("net1", CABLE_A)], ALL_B;
        cut_b_net2: Cut("b-net2"), &[("net2", CABLE_B)], ALL_A;
        nic_down_a_net1: NicDown(A, "net1"), &[("net1", PORT_A)], ALL_B;
        cut_a_net1_and_cut_b_net2: Both(&Cut("a-net1"), &Cut("b-net2")), &[("net1", CABLE_A), ("net2", CABLE_B)], SWAPPED;
        switch_off_net1: SwitchOff("net1"), &[("net1", NETWORK)], HOME;
        switch_off_net1_and_switch_off_net2: Both(&SwitchOff("net1"), &SwitchOff("net2")), &[("net1", NETWORK), ("net2", NETWORK)], HOME;
        switch_hangs_net1: SwitchHangs("net1"), &[], HOME;
        switch_hangs_net2: SwitchHangs("net2"), &[], HOME;
        cut_xlink: Cut("xlink"), &[], HOME;
        mute_a_net1: Mute(A, "net1"), &[("net1", TO_B_LOST)], HOME;
        power_off_a: PowerOff(A), &[], ALL_B;
        cut_a_net1_and_cut_a_net2_and_cut_xlink: Both(&Cut("a-net1"), &Both(&Cut("a-net2"), &Cut("xlink"))), &[], ALL_B;
    }
}
