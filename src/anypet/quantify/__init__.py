"""From masks to numbers: measures of lesions and organs, reference regions, response, radiomics."""
